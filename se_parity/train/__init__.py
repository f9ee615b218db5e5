"""Training steps in each framework against the float64 reference."""
