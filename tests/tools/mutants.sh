#!/bin/sh
# SPDX-License-Identifier: MIT
# Do the tests bite? Changes one module in many small ways (mutmut) and runs the tests that are
# its own against each change. Prints the score and every change that no test noticed.
#   sh tests/tools/mutants.sh MODULE...        e.g. filter/essential kernel/arch/paging; without: all that are listed below
#   sh tests/tools/mutants.sh csrc/verdict.h     of the C helper: bitmap.c, table.c, verdict.h, sweep.c, zero.c
# Not part of tests/run.sh: a module takes minutes to hours. Needs what tests/run.sh has set up.
set -eu
cd "$(dirname "$0")/../.."
python=$PWD/.venv/bin/python

# The tests of a module: those that say what it must do, none that mounts or needs recorded crashes.
tests_of() {
    case $1 in
    filter/essential) echo filter/test_essential filter/test_filtered ;;
    filter/freelists) echo filter/test_freelists ;;
    elf/filteredcore) echo elf/test_filteredcore ;;
    filter/classes) echo filter/test_classes filter/test_filtered ;;
    filter/sections) echo filter/test_sections filter/test_filtered ;;
    maps/pagemask) echo maps/test_pagemask ;;
    filter/rules) echo filter/test_rules filter/test_classes ;;
    filter/memmap | filter/sparse) echo filter/test_memmap filter/test_memmap_hostile ;;
    maps/table) echo maps/test_table ;;
    maps/layout) echo views/test_catalog maps/test_table maps/test_pagemask elf/test_procvmcore ;;
    maps/plan) echo maps/test_table maps/test_pagemask filter/test_filtered ;;
    maps/memory) echo maps/test_memory sources/test_tmpfs maps/test_table ;;
    ranges) echo test_ranges ;;
    filter/filtered) echo filter/test_filtered filter/test_sections filter/test_essential ;;
    elf/header | elf/procvmcore) echo elf/test_procvmcore elf/test_malformed ;;
    kernel/arch/paging | kernel/arch/space) echo kernel/test_kernel kernel/test_arch kernel/test_arch_more filter/test_memmap ;;
    csrc/bitmap.c) echo maps/test_pagemask maps/test_table ;;
    csrc/table.c) echo maps/test_table maps/test_pagemask ;;
    csrc/verdict.h | csrc/sweep.c | csrc/zero.c) echo filter/test_classes filter/test_filtered ;;
    *) echo "$0: no tests are listed for $1: name them in $0" >&2; return 1 ;;
    esac
}
LISTED="filter/essential filter/freelists elf/filteredcore filter/classes filter/sections maps/pagemask filter/rules filter/memmap
filter/sparse maps/table maps/layout maps/plan maps/memory ranges filter/filtered
elf/header elf/procvmcore kernel/arch/paging kernel/arch/space"

"$python" -m mutmut --version >/dev/null 2>&1 ||
    "$python" -m pip install --quiet --disable-pip-version-check ".[mutants]"
installed=$(cd / && "$python" -c 'import os, oldmemfs; print(os.path.dirname(oldmemfs.__file__))')

# shellcheck disable=SC2086 # a list of words is meant
[ $# -gt 0 ] || set -- $LISTED
for module; do
    names=$(tests_of "$module")
    case $module in csrc/*)
        # shellcheck disable=SC2046,SC2086 # a list of words is meant
        "$python" tests/tools/mutants_c.py "${module#csrc/}" $(printf 'tests/%s.py\n' $names)
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
        # shellcheck disable=SC3045 # dash and bash have it
        ulimit -d 2097152 # KiB: a change may make a loop that takes all memory
        "$python" -m mutmut run --max-children 1 >run.log 2>&1 || {
            tr '\r' '\n' <run.log | tail -5 >&2
            exit 1
        }
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
