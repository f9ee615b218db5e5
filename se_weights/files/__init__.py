"""One file a format. A path's suffix names its format; what the file then holds must agree."""

from se_weights.files.opening import FORMATS, format_of, located, opened
from se_weights.files.stored import Format, Stored, Tensor

__all__ = ["FORMATS", "Format", "Stored", "Tensor", "format_of", "located", "opened"]
