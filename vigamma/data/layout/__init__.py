"""Counts and other data as the devices want them."""
