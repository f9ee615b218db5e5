"""Known faults of ports between frameworks, which are planted in the reference to explain a difference."""
