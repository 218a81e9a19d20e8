#!/bin/sh
# All that oldmemfs needs on Debian and its relatives: system packages, a virtual environment in
# .venv, the program built into it. Run again after a change. The words are pip's; "." if none.
# MORE_PACKAGES: further Debian packages.
set -eu
cd "$(dirname "$0")/.."

need=""
for package in gcc libc6-dev pkg-config libfuse3-dev fuse3 python3 python3-dev python3-venv \
    ${MORE_PACKAGES-}; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        need="$need $package"
done
if [ -n "$need" ]; then
    root=""
    [ "$(id -u)" = 0 ] || root="sudo"
    $root apt-get -q update
    # shellcheck disable=SC2086 # a list of words is meant
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $need
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "oldmemfs needs Python 3.11 or later; python3 is $(python3 --version)" >&2
    exit 1
}
[ -x .venv/bin/python ] || python3 -m venv .venv
[ $# -gt 0 ] || set -- .
.venv/bin/pip install --quiet --disable-pip-version-check "$@"
