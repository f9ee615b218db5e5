"""The HTML report of an examination."""
