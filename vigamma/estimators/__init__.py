"""Estimators of the ELBO and its gradient, all with the same signature."""
