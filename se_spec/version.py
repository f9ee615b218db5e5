"""The version of the whole distribution, kept where everything can read it without importing more."""

__version__ = "0.1.0"
