"""Reading, converting and writing the weights of SE networks. No framework is imported."""

from se_weights.checkpoint import (
    Checkpoint,
    check,
    check_parts,
    log_new_classifier,
    tensor_sha256,
    weights_sha256,
)
from se_weights.convert import convert
from se_weights.dialects import DIALECTS
from se_weights.errors import (
    AmbiguousArchitecture,
    AmbiguousDialect,
    AmbiguousFolder,
    AmbiguousPrefix,
    MalformedFile,
    MissingExtra,
    MissingPrefix,
    SourceChanged,
    TargetExists,
    UnsafeFile,
    UnsupportedFormat,
    WeightMismatch,
    WeightsError,
    WriteFailed,
)
from se_weights.files.hashing import file_sha256
from se_weights.layouts import relayout
from se_weights.preprocessing import Preprocessing
from se_weights.provenance.conversion_record import ConversionRecord, fingerprints, read_conversion_record
from se_weights.provenance.notes import notes
from se_weights.reading.read import read, read_candidates, read_disambiguated
from se_weights.transforms.adapt import adapt_in_channels
from se_weights.transforms.cast import cast_to
from se_weights.transforms.fold import fold_batchnorm
from se_weights.transforms.reorder import rgb_input, standard_classes
from se_weights.writing.sharing import save_pretrained
from se_weights.writing.write import write

__all__ = [
    "DIALECTS",
    "AmbiguousArchitecture",
    "AmbiguousDialect",
    "AmbiguousFolder",
    "AmbiguousPrefix",
    "Checkpoint",
    "ConversionRecord",
    "MalformedFile",
    "MissingExtra",
    "MissingPrefix",
    "Preprocessing",
    "SourceChanged",
    "TargetExists",
    "UnsafeFile",
    "UnsupportedFormat",
    "WeightMismatch",
    "WeightsError",
    "WriteFailed",
    "adapt_in_channels",
    "cast_to",
    "check",
    "check_parts",
    "convert",
    "file_sha256",
    "fingerprints",
    "fold_batchnorm",
    "log_new_classifier",
    "notes",
    "read",
    "read_candidates",
    "read_conversion_record",
    "read_disambiguated",
    "relayout",
    "rgb_input",
    "save_pretrained",
    "standard_classes",
    "tensor_sha256",
    "weights_sha256",
    "write",
]
