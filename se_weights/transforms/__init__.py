"""Changes to a checkpoint between reading and writing: dtype, batch norm folding, channel and class order."""
