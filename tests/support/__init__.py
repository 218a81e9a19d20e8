# SPDX-License-Identifier: MIT
"""Builders, models and references that several tests share."""
