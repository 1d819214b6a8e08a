"""Families of distributions, and the variational family made of them."""
