# SPDX-License-Identifier: MIT
"""Maps from one address space to another: memory, layouts, plans, and the tables that C reads."""
