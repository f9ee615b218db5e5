"""Checkpoint folders that Orbax saves."""
