# SPDX-License-Identifier: MIT
"""Which pages of the dead kernel a filtered dump keeps."""
