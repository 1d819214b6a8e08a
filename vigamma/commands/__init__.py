"""The commands, one a file: their flags, and what they print."""
