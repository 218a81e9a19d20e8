#!/bin/sh
# Do the tests bite? Changes one module in many small ways (mutmut) and runs the tests that are
# its own against each change. Prints the score and every change that no test noticed.
#   sh tests/mutants.sh MODULE...        e.g. musts arch/paging; without: all that are listed below
#   sh tests/mutants.sh csrc/judge.h     of the C helper: bits.c, table.c, judge.h, pages.c, zero.c
# Not part of tests/run.sh: a module takes minutes to hours. Needs what tests/run.sh has set up.
set -eu
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python

# The tests of a module: those that say what it must do, none that mounts or needs recorded crashes.
tests_of() {
    case $1 in
    musts) echo test_musts test_filtered ;;
    freelists) echo test_freelists ;;
    kernelcore) echo test_kernelcore ;;
    pages) echo test_pages test_filtered ;;
    sections) echo test_sections test_filtered ;;
    kept) echo test_kept ;;
    rules) echo test_rules test_pages ;;
    memmap | sparse) echo test_memmap test_memmap_hostile ;;
    table) echo test_table ;;
    layout) echo test_view test_table test_kept test_vmcore ;;
    plan) echo test_table test_kept test_filtered ;;
    memory) echo test_memory test_resident test_table ;;
    ranges) echo test_ranges ;;
    filtered) echo test_filtered test_sections test_musts ;;
    elfcore | procvmcore) echo test_vmcore test_malformed ;;
    arch/paging | arch/space) echo test_kernel test_arch test_arch_more test_memmap ;;
    csrc/bits.c) echo test_kept test_table ;;
    csrc/table.c) echo test_table test_kept ;;
    csrc/judge.h | csrc/pages.c | csrc/zero.c) echo test_pages test_filtered ;;
    *) echo "$0: no tests are listed for $1: name them in $0" >&2; return 1 ;;
    esac
}
LISTED="musts freelists kernelcore pages sections kept rules memmap sparse table layout plan memory ranges
filtered elfcore procvmcore arch/paging arch/space"

"$python" -m mutmut --version >/dev/null 2>&1 ||
    "$python" -m pip install --quiet --disable-pip-version-check ".[mutants]"
installed=$(cd / && "$python" -c 'import os, oldmemfs; print(os.path.dirname(oldmemfs.__file__))')

for module in ${*:-$LISTED}; do
    names=$(tests_of "$module")
    case $module in csrc/*)
        # shellcheck disable=SC2046
        "$python" tests/mutants_c.py "${module#csrc/}" $(printf 'tests/%s.py\n' $names)
        continue ;;
    esac
    work=build/mutants/$(echo "$module" | tr / _)
    rm -rf "$work"
    mkdir -p "$work"
    cp -r tests "$work/tests"
    cp -r "$installed" "$work/oldmemfs" # with the C extension
    {
        echo "[mutmut]"
        echo "source_paths=oldmemfs"
        echo "only_mutate=oldmemfs/$module.py"
        echo "use_git_change_detection=false"
        echo "pytest_add_cli_args="
        printf '    %s\n' -x -q -p no:cacheprovider -m "not golden and not vm and not mount" -W ignore
        echo "pytest_add_cli_args_test_selection="
        for name in $names; do echo "    tests/$name.py"; done
    } >"$work/setup.cfg"
    (
        cd "$work"
        "$python" -m mutmut run --max-children 1 >run.log 2>&1 || { tail -20 run.log >&2; exit 1; }
        "$python" -m mutmut results --all true >results.txt
        total=$(grep -c ': ' results.txt)
        lived=$(grep -cE ': (survived|no tests|suspicious)' results.txt) || true
        echo "$module: $((total - lived)) of $total changes were noticed"
        grep -E ': (survived|no tests|suspicious)' results.txt | while IFS=': ' read -r name _; do
            "$python" -m mutmut show "$name" | grep '^[-+#]' | grep -v '^---\|^+++'
        done >lived.txt || true
        cat lived.txt
    )
done
