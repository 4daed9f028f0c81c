"""Optimizers: the bridge from subspaces to Optax, estimators, exchanges, and what steps in them."""
