"""Diagnostics: how well a fit predicts held-out counts and describes the training counts."""
