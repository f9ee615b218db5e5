"""The checkpoint folders of Orbax."""
