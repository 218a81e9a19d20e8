#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what tests/vm needs beside Python, on Debian and its relatives. Run as root.
# MORE_PACKAGES: further Debian packages. With RUNLEVEL no service among them is started.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC2086 # a list of words is meant
RUNLEVEL=1 apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
    binutils busybox-static cpio crash debian-archive-keyring debootstrap e2fsprogs fuse3 kexec-tools \
    mount openssh-client qemu-system-arm qemu-system-misc qemu-system-ppc qemu-system-x86 zstd \
    ${MORE_PACKAGES-}
