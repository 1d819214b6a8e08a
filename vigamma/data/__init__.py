"""Sources of counts, their files, validation and splits."""
