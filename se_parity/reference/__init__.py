"""The float64 reference in numpy: forward, backward, single operations, and recorded activations."""
