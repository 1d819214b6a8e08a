"""Devices, processes and the host on which they run."""
