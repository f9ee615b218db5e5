"""Inputs of parity checks: trained-like weights, sample images, stress cases, and cases from a name or a file."""
