"""Runs: what is fitted, how it is fitted to the end, and what is left of it on the disk."""
