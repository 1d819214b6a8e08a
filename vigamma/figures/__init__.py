"""Pictures, by Matplotlib, which is imported here only."""
