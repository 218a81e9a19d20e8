# SPDX-License-Identifier: MIT
"""The mount: inodes, requests, the server, and the life of the mount."""
