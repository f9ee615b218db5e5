"""The demo: trains a digit classifier in PyTorch, converts it, and checks that its predictions do not change."""
