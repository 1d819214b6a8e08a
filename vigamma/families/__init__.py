"""Probability distributions, and the variational families built from them."""
