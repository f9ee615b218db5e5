"""What lies in a folder must lie in it: a link that leads out reads what its maker could not."""

from pathlib import Path

from se_weights.files.limits import FILE_NAME
from se_weights.refusals import refuse


def is_file_name(text: str) -> bool:
    """Whether a file of this name can lie in a folder."""
    plain = text.isprintable() and not set(text) & set("/\\")
    return plain and text not in (".", "..") and 0 < len(text.encode()) <= FILE_NAME


def expect_inside(folder: Path, path: Path) -> None:
    """Refuse a path whose links lead out of the folder; Hugging Face's own cache links into its `blobs`."""
    real = path.resolve()
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        roots.append(folder.resolve().parent.parent / "blobs")
    if not any(real.is_relative_to(root) for root in roots):
        raise refuse("file.link", f"{path.name} is a link to {real}")
