"""Finding the failing layer, and the known fault that explains it."""
