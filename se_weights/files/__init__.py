"""One file a format. A path's suffix names its format; what the file then holds must agree."""

from se_weights.files.formats import FORMATS, Format
from se_weights.files.opening import format_of, locate_format, open_file
from se_weights.files.stored import FileContents, Tensor

__all__ = ["FORMATS", "FileContents", "Format", "Tensor", "format_of", "locate_format", "open_file"]
