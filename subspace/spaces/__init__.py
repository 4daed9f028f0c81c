"""Subspaces as charts: coordinates in, parameters out."""
