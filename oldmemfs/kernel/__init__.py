# SPDX-License-Identifier: MIT
"""The dead kernel: its VMCOREINFO, its virtual memory, its log, and the cause of the crash."""
