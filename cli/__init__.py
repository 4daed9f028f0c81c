"""The command line of `subspace`: one module per command."""
