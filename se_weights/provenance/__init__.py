"""The conversion record of a file, and notes on weights that look wrong."""
