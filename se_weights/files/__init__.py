"""Reads and writes weight files, one module or subpackage a format. The suffix of a path selects the format."""

from se_weights.files.contents import FileContents, Tensor
from se_weights.files.formats import FORMATS, Format
from se_weights.files.opening import detect_format, format_of, open_file

__all__ = ["FORMATS", "FileContents", "Format", "Tensor", "detect_format", "format_of", "open_file"]
