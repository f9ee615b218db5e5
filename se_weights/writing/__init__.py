"""Writing: a checkpoint in a format and dialect, read back and renamed into place."""
