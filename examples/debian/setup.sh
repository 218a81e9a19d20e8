#!/bin/sh
# Let kdump-tools save its dumps through oldmemfs: once, as root, after `apt install kdump-tools`.
#   setup.sh [VIEW]     the view to save (vmcore-kern); /usr/local/bin/oldmemfs must be there
set -eu
cd "$(dirname "$0")"
view=${1:-vmcore-kern}
[ -x /usr/local/bin/oldmemfs ] || {
    echo "setup.sh: no /usr/local/bin/oldmemfs: link the installed program there" >&2
    exit 1
}
sed "s|bind=vmcore-kern$|bind=$view|" oldmemfs-kdump.service >/etc/systemd/system/oldmemfs-kdump.service
grep -q '^# oldmemfs:' /etc/default/kdump-tools || cat kdump-tools >>/etc/default/kdump-tools
systemctl enable oldmemfs-kdump.service
