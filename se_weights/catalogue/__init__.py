"""The published files of other code bases, and the networks that their tensors cannot tell apart."""

from se_weights.catalogue.published import PublishedFile, file_hash, with_tensors_of

__all__ = ["PublishedFile", "file_hash", "with_tensors_of"]
