"""Running each framework in its own worker process."""
