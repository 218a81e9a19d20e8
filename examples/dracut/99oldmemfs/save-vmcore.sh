#!/bin/sh
# SPDX-License-Identifier: MIT
# For `core_collector` in /etc/kdump.conf: copy /proc/vmcore, over which oldmemfs has mounted its view.
#   save-vmcore.sh /proc/vmcore TARGET
# If oldmemfs is not there, or reading fails, the true /proc/vmcore is saved: filtered by makedumpfile,
# else whole. What oldmemfs says about the dump, and `lost` if something failed, go beside TARGET.
if [ $# != 2 ]; then
    echo "save-vmcore.sh: SOURCE TARGET are needed: for ssh use core_collector scp" >&2
    exit 2
fi
source=$1
target=$2
folder=$(dirname "$target")
mnt=/run/oldmemfs
umask 077

note() {
    echo "oldmemfs: $*" >&2
    echo "$*" >>"$folder/lost"
}

is_bound() {
    grep -q " $source fuse\.oldmemfs " /proc/mounts
}

true_vmcore() {
    ! is_bound || umount -l "$source"
    if command -v makedumpfile >/dev/null; then
        rm -f "$target"
        makedumpfile -l -d 31 "$source" "$target" && return
        note "makedumpfile failed; what is saved is not filtered"
    fi
    rm -f "$target"
    cp --sparse=always "$source" "$target"
}

if ! is_bound; then
    note "it is not mounted over $source: the true one is saved"
    true_vmcore
elif ! said=$(cp --sparse=always "$source" "$target" 2>&1); then
    note "$said"
    case "$said" in
        # The others are no smaller: leave what there is.
        *"No space left"*) false ;;
        *) true_vmcore ;;
    esac
fi
status=$?
[ "$status" = 0 ] || note "$target is not complete"
for name in summary status filter-report badpages; do
    [ ! -r "$mnt/$name" ] || cp "$mnt/$name" "$folder/" || note "$name is not saved"
done
exit "$status"
