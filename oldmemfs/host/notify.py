# SPDX-License-Identifier: MIT
"""Messages to systemd (sd_notify) and to syslog. Both are datagrams, and both may be missing."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

_LOG, _KERNEL_LOG = "/dev/log", "/dev/kmsg"
_DAEMON = 3 << 3  # syslog's facility
_SEVERITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


def _send(address: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(5)
        channel.sendto(data, address)


def tell(*lines: str) -> None:
    """Send ``READY=1``, ``STATUS=text`` and the like to systemd, as sd_notify(3) does.

    Does nothing without $NOTIFY_SOCKET, and ignores errors.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        with suppress(OSError):
            _send(
                address.replace("@", "\0", 1) if address[0] == "@" else address,
                "\n".join(lines).encode(),
            )


class SystemLog(logging.Handler):
    """A handler that writes to syslog, or to /dev/kmsg if there is no syslog (an initramfs)."""

    def __init__(self, log: str = _LOG, kernel_log: str = _KERNEL_LOG) -> None:
        super().__init__()
        self._log = log
        self._kernel_log = kernel_log

    def emit(self, record: logging.LogRecord) -> None:
        """Send each line as one datagram, or as one line of /dev/kmsg.

        A line that neither of them takes is dropped.
        """
        level = _DAEMON | _SEVERITY.get(record.levelno, 5)
        for line in self.format(record).splitlines():
            data = f"<{level}>oldmemfs[{os.getpid()}]: {line}".encode(errors="replace")
            try:
                _send(self._log, data)
            except OSError:
                with suppress(OSError), open(self._kernel_log, "wb", buffering=0) as file:
                    file.write(data[:900] + b"\n")  # /dev/kmsg refuses more than about 1 KiB
