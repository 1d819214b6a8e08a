"""Inference: what moves the variational family."""
