#!/bin/bash
# dracut module: the dead kernel's memory as files in a kdump initramfs. Copy this folder to
# /usr/lib/dracut/modules.d and put `dracut_args --add oldmemfs` into /etc/kdump.conf (Fedora, RHEL)
# or KDUMP_DRACUT_ARGS="--add oldmemfs"-like words where the distribution takes them.
# OLDMEMFS_SHARE says where the examples are installed, beside the Python that has oldmemfs.

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
    local share=${OLDMEMFS_SHARE:-/opt/oldmemfs/share/oldmemfs}
    local python=${share%/share/oldmemfs}/bin/python3
    [[ -x $python ]] || python=python3
    "$python" "$share/payload.py" "${initdir:?}" || {
        derror "oldmemfs: $share/payload.py failed"
        return 1
    }
    inst_multiple mount umount modprobe mkdir
    inst_simple "${moddir:?}/oldmemfs.service" "${systemdsystemunitdir:?}/oldmemfs.service"
    "$SYSTEMCTL" -q --root "$initdir" add-wants initrd.target oldmemfs.service
}
