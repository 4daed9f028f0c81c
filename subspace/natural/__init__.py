"""Natural gradients from captured rows of layers."""
