#!/bin/sh
# SPDX-License-Identifier: MIT
# Let kdump-tools save its dumps through oldmemfs: once, as root, after `apt install kdump-tools`.
#   oldmemfs --setup-debian [VIEW]      VIEW is saved: vmcore-kern (the kernel's pages only) or vmcore
#   oldmemfs --setup-debian --remove    take everything out again
set -eu
cd "$(dirname "$0")"

unit=/etc/systemd/system/oldmemfs-kdump.service
script=/usr/local/lib/oldmemfs/kdump-tools
config=/etc/default/kdump-tools
begin='# oldmemfs: begin (oldmemfs --setup-debian --remove takes these lines out)'
end='# oldmemfs: end'

usage() {
    sed -n '3,/^set/{/^set/!s/^# *//p;}' setup.sh
}

# Exit status 2: asked for something that does not exist; 1: this system lacks something.
die() {
    echo "oldmemfs --setup-debian: $2" >&2
    exit "$1"
}

# Both or none: from a beginning without an end, everything that follows would be taken out.
check_lines() {
    if [ -f "$config" ]; then
        [ "$(grep -c '^# oldmemfs: begin' "$config")" = "$(grep -c '^# oldmemfs: end' "$config")" ] ||
            die 1 "$config: the lines '# oldmemfs: begin' and '# oldmemfs: end' are no pair: mend it first"
    fi
}

# The configuration without our lines.
without() {
    sed "/^# oldmemfs: begin/,/^# oldmemfs: end/d" "$config"
}

# Written into a copy first: half a file would stop kdump-tools.
replace() {
    cat >"$config.oldmemfs"
    chmod --reference="$config" "$config.oldmemfs"
    mv "$config.oldmemfs" "$config"
}

remove() {
    if [ -e "$unit" ]; then
        systemctl disable oldmemfs-kdump.service
    fi
    rm -f "$unit" "$script"
    rmdir "${script%/*}" 2>/dev/null || true
    if [ -e "$config" ] && grep -q '^# oldmemfs: begin' "$config"; then
        without | replace
    fi
    echo "kdump-tools saves its dumps without oldmemfs now"
}

[ $# -le 1 ] || die 2 "one VIEW at most; --help shows what there is"
view=${1-vmcore-kern}
case "$view" in
    --help | -h)
        usage
        exit 0
        ;;
    --remove | vmcore-kern | vmcore) ;;
    *) die 2 "$view: the view to save is vmcore-kern or vmcore; --help shows what else there is" ;;
esac
[ "$(id -u)" = 0 ] || die 1 "it changes files in /etc: be root"
command -v systemctl >/dev/null || die 1 "no systemctl here: it needs systemd"
check_lines
if [ "$view" = --remove ]; then
    remove
    exit 0
fi
[ -f "$config" ] || die 1 "no $config: install kdump-tools first (apt-get install kdump-tools)"
[ -x /usr/local/bin/oldmemfs ] ||
    die 1 "no /usr/local/bin/oldmemfs: link the installed program there"
/usr/local/bin/oldmemfs --version >/dev/null ||
    die 1 "/usr/local/bin/oldmemfs does not run: install oldmemfs again"

mkdir -p "${script%/*}"
cp kdump-tools "$script"
sed "s|bind=vmcore-kern$|bind=$view|" oldmemfs-kdump.service >"$unit"
{
    without
    echo "$begin"
    echo "if [ -r $script ]; then . $script; fi"
    echo "$end"
} | replace
systemctl enable oldmemfs-kdump.service
echo "kdump-tools saves $view through oldmemfs from now on; oldmemfs --setup-debian --remove undoes it"
