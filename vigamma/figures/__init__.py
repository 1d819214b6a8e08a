"""Figures of fits and checks, by Matplotlib."""
