#!/bin/sh
# Install what tests/vm needs beside Python, on Debian and its relatives. Run as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
    binutils busybox-static cpio debian-archive-keyring debootstrap e2fsprogs fuse3 kexec-tools \
    mount openssh-client qemu-system-arm qemu-system-misc qemu-system-ppc qemu-system-x86 zstd
