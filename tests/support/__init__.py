"""Builders, models and references that several tests share."""
