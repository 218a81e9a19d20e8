# SPDX-License-Identifier: MIT
"""ELF core files: headers, notes, registers; and the layouts of `vmcore` and `vmcore-kern`."""
