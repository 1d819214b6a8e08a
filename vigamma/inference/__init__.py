"""Inference algorithms, which fit the variational family to the data."""
