"""Validation of counts, and the names of their rows and columns."""
