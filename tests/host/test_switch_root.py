# SPDX-License-Identifier: MIT
"""An initramfs is left as systemd leaves it, in a name space of its own: the mount lives on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from support.image import LOAD, Segment, crashed
from support.mounting import needs_mount, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_mount

# systemd moves /proc and /run first, then the new root over "/": in between, no path leads there.
_SCRIPT = """set -e
mount -t tmpfs none /etc
touch /etc/initrd-release
mount -t tmpfs none /run
mkdir /run/dump
touch /run/vmcore
("$1" -P -m oldmemfs "$2" /run/dump -f $3 & echo $! >/run/pid)
until grep -q " $4 " /proc/self/mountinfo; do sleep 0.1; done
mkdir "$0/new"
mount --bind / "$0/new"
for folder in dev run proc; do mount --move /$folder "$0/new/$folder"; done
sleep 0.5
cd "$0/new"
mount --move . /
exec chroot . /bin/sh -ec '
  read -r daemon </run/pid
  trap "kill -9 $daemon" EXIT
  cmp -i 1M -n 5M /run/dump/oldmem "$0"
  if [ "$1" = /run/vmcore ]; then cmp /run/dump/vmcore $1; fi
  grep -q ^@ /proc/$daemon/cmdline
  until [ /proc/$daemon/root/etc -ef /etc ]; do sleep 0.1; done
  until [ -z "$(cat /proc/$daemon/task/*/children)" ]; do sleep 0.1; done
  kill $daemon
  while grep oldmemfs /proc/mounts; do sleep 0.1; done
  trap "" EXIT
' "$2" "$4"
"""


@pytest.mark.parametrize(
    ("option", "last"), [("-obind=vmcore:/run/vmcore", "/run/vmcore"), ("-orw", "/run/dump")]
)
def test_it_lives_on_and_ends_well(tmp_path: Path, option: str, last: str) -> None:
    image = crashed([Segment(LOAD, 0x100000, 0x500000)], size=8 << 20).write(tmp_path / "ram.img")
    words = (str(tmp_path), sys.executable, image, option, last)
    done = run("unshare", "-m", "sh", "-c", _SCRIPT, *words)
    assert done.returncode == 0, done.stdout + done.stderr
