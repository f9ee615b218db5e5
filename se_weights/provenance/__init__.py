"""Where the weights of a file come from, and what looks wrong in them."""
