"""Judging outputs: limits, differences, the matrix of runs, and golden files."""
