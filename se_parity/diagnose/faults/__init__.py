"""Known faults of ports, planted in the reference to explain a difference."""
