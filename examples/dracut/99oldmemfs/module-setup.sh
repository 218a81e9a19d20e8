#!/bin/bash
# SPDX-License-Identifier: MIT
# dracut module: the dead kernel's memory as files in a kdump initramfs. Copy this folder to
# /usr/lib/dracut/modules.d and put `dracut_args --add oldmemfs` into /etc/kdump.conf.
# oldmemfs is taken from OLDMEMFS_PREFIX, the virtual environment that it is installed in.

check() {
    # Only where it is asked for, or where kdump makes its image.
    [[ $IN_KDUMP == 1 || $IN_KDUMP == yes ]] || return 255
}

depends() {
    echo base shutdown systemd
}

installkernel() {
    hostonly='' instmods fuse
}

install() {
    local prefix=${OLDMEMFS_PREFIX:-/opt/oldmemfs}
    "$prefix/bin/oldmemfs" --payload "${initdir:?}" || {
        dfatal "oldmemfs: $prefix/bin/oldmemfs --payload failed"
        return 1
    }
    inst_multiple mount umount modprobe mkdir cp dirname grep rm
    inst_simple "${moddir:?}/save-vmcore.sh" /usr/lib/dracut/modules.d/99oldmemfs/save-vmcore.sh
    local units=${systemdsystemunitdir:?}
    inst_simple "${moddir:?}/oldmemfs.service" "$units/oldmemfs.service"
    mkdir -p "$initdir$units/initrd.target.wants"
    ln_r "$units/oldmemfs.service" "$units/initrd.target.wants/oldmemfs.service"
}
