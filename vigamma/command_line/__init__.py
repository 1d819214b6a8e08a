"""What commands share: their start, flags and exit statuses."""
