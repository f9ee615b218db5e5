"""Reading: what a file holds, in which dialect, and which architecture its tensors have."""
