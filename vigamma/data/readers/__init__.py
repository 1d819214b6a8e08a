"""Readers of file formats; each has a function `read(path) -> RawCounts`."""
