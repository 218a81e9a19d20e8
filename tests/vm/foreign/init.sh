#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# Where there is no Python: a shell's surroundings, then the life of one of both kernels.
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
# shellcheck source=/dev/null
. /settings
# shellcheck source=/dev/null
. /life
