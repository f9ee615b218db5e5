"""The main job on real images: train a digit reader in PyTorch, convert it, and see that nothing changes."""
