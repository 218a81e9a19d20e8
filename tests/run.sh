#!/bin/sh
# SPDX-License-Identifier: MIT
# Set up and pass the tests: lint, types, sanitizers, unit, property and mount tests.
#   sh tests/run.sh [--vm|--vm-all] [PYTEST WORDS...]
# --vm: also crash real kernels in QEMU (minutes); --vm-all: more of them (twice the minutes)
set -eu
cd "$(dirname "$0")/.."
vm="not vm"
case "${1-}" in
--vm) vm="not vm_more" ;;
--vm-all) vm="" ;;
esac
if [ "$vm" != "not vm" ]; then
    shift
    sh tests/vm/setup.sh
fi

MORE_PACKAGES="binutils clang-format cpio elfutils gdb makedumpfile procps pv rsync shellcheck xz-utils zstd" sh examples/setup.sh ".[test]" --config-settings cmake.define.OLDMEM_WERROR=-Werror
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --check --quiet .
.venv/bin/mypy

# The C helper under AddressSanitizer and UBSan: the same tests, those that read through it.
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/asan . \
    --config-settings cmake.define.OLDMEM_SANITIZE=ON --config-settings build-dir=build/asan-build
# gcc 12's sanitizers fail at random where addresses are more random than they know.
fixed=""
! setarch -R true 2>/dev/null || fixed="setarch -R"
# shellcheck disable=SC2086 # a list of words is meant
PYTHONPATH=build/asan LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0 \
    $fixed .venv/bin/pytest -q -m "not vm" -p no:cacheprovider tests/maps/test_table.py tests/maps/test_memory.py tests/fuse/test_mount.py

# Side by side, each file or machine in one process, those that take long first.
exec .venv/bin/pytest -m "$vm" -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder "$@"
