"""Layouts of counts and other data for the devices."""
