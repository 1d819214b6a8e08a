"""Estimators of the ELBO and its gradient, siblings with one signature."""
