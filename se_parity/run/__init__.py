"""Running a framework in a worker process of its own."""
