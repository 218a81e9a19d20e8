# SPDX-License-Identifier: MIT
"""What runs inside the emulated machine: the crash in the first kernel, the checks in the second.

Only the standard library, and nothing of oldmemfs: the checks must not share its mistakes.
"""
