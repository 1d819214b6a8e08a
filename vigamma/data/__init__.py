"""Counts: where they come from, and the checks at the border."""
