"""Damages files of weights in a million ways, and holds every reader of se_weights to its promise on each of them."""
