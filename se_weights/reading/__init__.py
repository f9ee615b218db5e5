"""Reads files: finds the dialect and infers the architecture of their tensors."""
