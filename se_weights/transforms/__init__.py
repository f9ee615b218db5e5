"""Changes between reading and writing: dtype, folded batch norms, order of input channels and classes."""
