"""Writes checkpoints in a format and dialect; each file is written atomically and read back."""
