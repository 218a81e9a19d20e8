#!/bin/sh
# SPDX-License-Identifier: MIT
# Sets up oldmemfs on Debian and its relatives: installs system packages, makes a virtual environment
# in .venv, builds the program into it. Run it again after a change.
# The arguments go to pip install; "." if there are none. MORE_PACKAGES: further Debian packages.
# What apt-get and pip print is shown only if they fail.
set -eu
cd "$(dirname "$0")/.."

output=$(mktemp)
trap 'rm -f "$output"' EXIT
quietly() {
    "$@" >"$output" 2>&1 || {
        status=$?
        cat "$output" >&2
        echo "failed: $*" >&2
        exit "$status"
    }
}

need=""
for package in gcc libc6-dev pkg-config libfuse3-dev fuse3 python3 python3-dev python3-venv \
    ${MORE_PACKAGES-}; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        need="$need $package"
done
if [ -n "$need" ]; then
    root=""
    [ "$(id -u)" = 0 ] || root="sudo"
    echo "installing$need" >&2
    # shellcheck disable=SC2086 # lists of words are meant
    quietly $root apt-get -q update
    # shellcheck disable=SC2086
    quietly $root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $need
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "oldmemfs needs Python 3.11 or later; python3 is $(python3 --version)" >&2
    exit 1
}
[ -x .venv/bin/python ] || python3 -m venv .venv
[ $# -gt 0 ] || set -- .
echo "building oldmemfs into .venv" >&2
quietly .venv/bin/pip install --quiet --disable-pip-version-check "$@"
