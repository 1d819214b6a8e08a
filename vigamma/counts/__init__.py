"""What counts are, and what their rows and columns are called."""
