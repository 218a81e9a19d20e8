# SPDX-License-Identifier: MIT
"""What this machine tells (procfs, mounts, command line), and the life of the daemon."""
