"""One file a format. A path's suffix names its format; what the file then holds must agree."""

from se_weights.files.formats import FORMATS, Format
from se_weights.files.opening import format_of, located, opened
from se_weights.files.stored import Stored, Tensor

__all__ = ["FORMATS", "Format", "Stored", "Tensor", "format_of", "located", "opened"]
