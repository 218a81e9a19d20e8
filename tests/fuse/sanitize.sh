#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs server.c's threads under ThreadSanitizer, then under AddressSanitizer and UBSan.
#   tests/fuse/sanitize.sh [SECONDS] [CC]
set -eu
seconds=${1:-5}
compiler=${2:-${CC:-cc}}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# gcc 12's ThreadSanitizer fails at random where addresses are more random than it knows.
fixed=""
! setarch -R true 2>/dev/null || fixed="setarch -R"
for sanitizer in thread address,undefined; do
    "$compiler" -std=gnu11 -O1 -g -Wall -Wextra -Werror "-fsanitize=$sanitizer" \
        -fno-sanitize-recover=all -I "$here/../../csrc" -o "$work/stress" "$here/server_stress.c" \
        "$here"/../../csrc/openfiles.c "$here"/../../csrc/requests.c "$here"/../../csrc/server.c \
        "$here"/../../csrc/turn.c "$here"/../../csrc/follow.c \
        "$here"/../../csrc/passthrough.c "$here"/../../csrc/table.c "$here"/../../csrc/seek.c \
        "$here"/../../csrc/bitmap.c "$here"/../../csrc/window.c -lpthread
    echo "$sanitizer:"
    # shellcheck disable=SC2086 # a list of words is meant
    TSAN_OPTIONS=halt_on_error=1 timeout "$((seconds + 240))" $fixed "$work/stress" "$seconds"
done
