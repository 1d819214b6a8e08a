"""A reader for each format of files; all have `read(path) -> RawCounts`."""
