# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The small capture kernel's life: mount, look, read both cores, unmount, switch off.
exec >/dev/ttyS1 2>&1
tell() { printf '{"kind": "%s", "detail": "%s"}\n' "$1" "$2"; }
left() { busybox awk '/MemAvailable/ {print $2}' /proc/meminfo; }

before=$(left)
/usr/bin/mount -t fuse oldmemfs /mnt/dump && mounted=$(left) &&
tell sizes "$(busybox stat -c '%n %s' /mnt/dump/vmcore /mnt/dump/vmcore-kern | busybox tr '\n' ' ')" &&
tell panic "$(busybox grep 'Kernel panic' /mnt/dump/dmesg)" &&
busybox cmp /mnt/dump/vmcore /proc/vmcore && tell vmcore equal &&
tell kernel "$(busybox wc -c </mnt/dump/vmcore-kern)" &&
tell left "before $before mounted $mounted copied $(left)" &&
/usr/bin/umount /mnt/dump && ! busybox dmesg | busybox grep -v lockup | busybox grep -E 'oom-kill|Oops|BUG:' && tell end
poweroff -f
