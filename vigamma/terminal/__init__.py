"""Output to terminals."""
