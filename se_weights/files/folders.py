"""Checks that the files of a folder are in it: a link that leads out of it could reach any file of the user."""

from pathlib import Path

from se_weights.files.limits import FILE_NAME
from se_weights.refusals import refuse

DCP_METADATA = ".metadata"
"""The file of a folder of torch's DCP that tells where the parts of its tensors are."""


def is_file_name(text: str) -> bool:
    """Whether a file in a folder can have this name."""
    plain = text.isprintable() and not set(text) & set("/\\")
    return plain and text not in (".", "..") and 0 < len(text.encode()) <= FILE_NAME


def check_inside(folder: Path, path: Path) -> None:
    """Checks that a path, with its links resolved, is in the folder.

    Links into the `blobs` of the Hugging Face cache are allowed from a snapshot there.

    Args:
        folder: The folder.
        path: A file that is read as part of the folder.

    Raises:
        UnsafeFile: It is not.
    """
    real = path.resolve()
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        roots.append(folder.resolve().parent.parent / "blobs")
    if not any(real.is_relative_to(root) for root in roots):
        raise refuse("file.link", f"{path.name} is a link to {real}")
