"""Cases 1 to 15, 23 and 24: faults that any file, and any tensor name, can have."""

import gzip
import lzma
import os
import socket
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from parity_tests.hostile.archive import Record, archive
from parity_tests.hostile.case import Case, Make, ValidFiles, accepted, convert, corrupted, file_with
from parity_tests.hostile.processes import without_rights
from parity_tests.hostile.safetensors import with_tensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 102502400\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Rate limit exceeded</body></html>\n"
REFUSED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>\n'
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(100)


def absent(folder: Path, valid: ValidFiles) -> Path:
    return folder / "weights.safetensors"


def folder_of_notes(name: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> Path:
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("none yet\n")
        return folder / name

    return make


def unreadable(folder: Path, valid: ValidFiles) -> list[str]:
    path = valid.copy(".safetensors", folder)
    path.chmod(0)
    return without_rights(convert(path.name))


def renamed(suffix: str, name: str, change: Callable[[bytes], bytes] = bytes) -> Make:
    """The valid file of a format under another name, with `change` applied to its bytes."""
    return corrupted(suffix, change, name)


def verified(manifest: bytes) -> Make:
    """The valid file, verified against this conversion record."""

    def make(folder: Path, valid: ValidFiles) -> list[str]:
        path = valid.copy(".safetensors", folder)
        (folder / f"{path.name}.manifest.json").write_bytes(manifest)
        return [sys.executable, "-m", "se_cli", "verify", path.name, "--json"]

    return make


def tarred(content: bytes) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        member = tarfile.TarInfo("weights.pth")
        member.size = len(content)
        file.addfile(member, BytesIO(content))
    return buffer.getvalue()


def cut(suffix: str, share: float) -> Make:
    return corrupted(suffix, lambda content: content[: min(int(len(content) * share), len(content) - 1)])


def flipped(suffix: str) -> Make:
    """The valid file with one flipped bit in the weights of the first convolution."""

    def make(folder: Path, valid: ValidFiles) -> Path:
        path = valid.copy(suffix, folder)
        content = bytearray(path.read_bytes())
        content[content.index(valid.weights["conv1.weight"].tobytes()) + 100] ^= 1
        path.write_bytes(content)
        return path

    return make


def fifo(folder: Path, valid: ValidFiles) -> Path:
    os.mkfifo(folder / "weights.pth")
    return folder / "weights.pth"


def listening(folder: Path, valid: ValidFiles) -> Path:
    path = folder / "weights.npz"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))
    return path


def linked(name: str, to: str) -> Make:
    def make(folder: Path, valid: ValidFiles) -> Path:
        (folder / name).symlink_to(to)
        return folder / name

    return make


def link_to_good(folder: Path, valid: ValidFiles) -> Path:
    (folder / "weights.safetensors").symlink_to(valid.path(".safetensors"))
    return folder / "weights.safetensors"


def second_name(folder: Path, valid: ValidFiles) -> Path:
    (folder / "another.safetensors").hardlink_to(valid.copy(".safetensors", folder))
    return folder / "another.safetensors"


def folder_that_links_out(folder: Path, valid: ValidFiles) -> Path:
    path = folder / "weights"
    path.mkdir()
    (path / "model.safetensors").symlink_to(valid.path(".safetensors"))
    return path


def snapshot(folder: Path, valid: ValidFiles) -> Path:
    """A snapshot in the layout of huggingface_hub's cache."""
    path, blobs = folder / "models--who--what" / "snapshots" / "0a1b", folder / "models--who--what" / "blobs"
    path.mkdir(parents=True)
    blobs.mkdir()
    valid.copy(".safetensors", blobs).rename(blobs / "c0ffee")
    (path / "model.safetensors").symlink_to("../../blobs/c0ffee")
    return path


def tensors(*names: str) -> Make:
    """The valid tensors, and others with these names."""
    return with_tensors(dict.fromkeys(names, (1,)))


CASES = (
    Case("1", "a path where there is nothing", absent, 6, "io.missing"),
    Case("2a", "a safetensors file of no bytes", file_with("weights.safetensors", b""), 3, "file.empty"),
    Case("2b", "a torch file of no bytes", file_with("weights.pth", b""), 3, "file.empty"),
    Case("2c", "a Keras file of no bytes", file_with("weights.weights.h5", b""), 3, "file.empty"),
    Case("3a", "a safetensors file of one byte", file_with("weights.safetensors", b"\x08"), 3, "safetensors.header"),
    Case("3b", "an npz file of one byte", file_with("weights.npz", b"P"), 3, "zip.damaged"),
    Case("3c", "a msgpack file of one byte", file_with("weights.msgpack", b"\x81"), 3, "msgpack.damaged"),
    Case("4a", "a folder of notes, under a file's name", folder_of_notes("weights.safetensors"), 6, "io.failed"),
    Case("4b", "a folder of notes", folder_of_notes("weights"), 5, "folder.content"),
    Case("5", "a file under the name of an Orbax folder", renamed(".npz", "weights.orbax"), 3, "file.other"),
    Case("6", "a file that may not be read", unreadable, 6, "io.permission"),
    Case("7a", "a pointer of Git LFS for a torch file", file_with("weights.pth", POINTER), 3, "file.pointer"),
    Case("7b", "a pointer of Git LFS for safetensors", file_with("weights.safetensors", POINTER), 3, "file.pointer"),
    Case("8a", "a web page saved as a torch file", file_with("weights.pth", PAGE), 3, "file.page"),
    Case("8b", "a store's refusal, in XML, saved as a file", file_with("weights.msgpack", REFUSED), 3, "file.page"),
    Case("9a", "a torch file in gzip", renamed(".pth", "weights.pth", gzip.compress), 3, "file.packed"),
    Case("9b", "safetensors in xz", renamed(".safetensors", "weights.safetensors", lzma.compress), 3, "file.packed"),
    Case("9c", "a torch file in tar", renamed(".pth", "weights.pth", tarred), 3, "file.packed"),
    Case("9d", "a 7-Zip archive", file_with("weights.npz", SEVEN_ZIP), 3, "file.packed"),
    Case(
        "9e",
        "a torch file in another zip",
        renamed(".pth", "weights.pth", lambda content: archive([Record("weights.pth", content)])),
        3,
        "torch.archive",
    ),
    Case("10a", "a torch file named .safetensors", renamed(".pth", "weights.safetensors"), 3, "file.other"),
    Case("10b", "safetensors named .pth", renamed(".safetensors", "weights.pth"), 3, "file.other"),
    Case("10c", "a Keras file named .msgpack", renamed(".weights.h5", "weights.msgpack"), 3, "file.other"),
    Case("10d", "a torch file named .npz", renamed(".pth", "weights.npz"), 3, "file.other"),
    Case("10e", "an npz file named .pth", renamed(".npz", "weights.pth"), 3, "torch.archive"),
    Case("10f", "a pickle named .safetensors", file_with("weights.safetensors", b"\x80\x02}."), 3, "file.other"),
    Case("10g", "another file in a manifest's place", verified(b'{"schema": 1}'), 3, "manifest.content"),
    Case("10h", "a manifest of 100,000 levels", verified(b"[" * 10**5), 3, "manifest.content"),
    Case("11a", "half a torch file", cut(".pth", 0.5), 3, "zip.damaged"),
    Case("11b", "a torch file without its last byte", cut(".pth", 1), 3, "zip.damaged"),
    Case("11c", "safetensors, cut in the header", cut(".safetensors", 0.05), 3, "safetensors.header"),
    Case("11d", "safetensors without its last byte", cut(".safetensors", 1), 3, "safetensors.offsets"),
    Case("11e", "half a Keras file", cut(".weights.h5", 0.5), 3, "hdf5.damaged"),
    Case("11f", "half a msgpack file", cut(".msgpack", 0.5), 3, "msgpack.damaged"),
    Case("11g", "a msgpack file without its last byte", cut(".msgpack", 1), 3, "msgpack.damaged"),
    Case("11h", "half an npz file", cut(".npz", 0.5), 3, "zip.damaged"),
    Case(
        "12a",
        "safetensors that ends as a zip archive",
        corrupted(".safetensors", lambda content: content + archive([Record("evil.py", b"pass")])),
        3,
        "safetensors.offsets",
    ),
    Case("12b", "bytes behind a torch file", corrupted(".pth", lambda content: content + b"more"), 3, "zip.damaged"),
    Case("12c", "a script before an npz file", corrupted(".npz", b"#!/bin/sh\n".__add__), 3, "zip.damaged"),
    Case("13a", "one flipped bit in a torch file's weights", flipped(".pth"), 3, "zip.crc", says="data/0"),
    Case("13b", "one flipped bit in an npz file's weights", flipped(".npz"), 3, "zip.crc", says="conv1.weight"),
    Case("14a", "a pipe into which nobody writes", fifo, 6, "io.failed"),
    Case("14b", "a socket", listening, 6, "io.failed"),
    Case("14c", "a link to a device without end", linked("weights.safetensors", "/dev/zero"), 6, "io.failed"),
    Case("14d", "a link into /proc", linked("weights.pth", "/proc/version"), 3, "pickle.damaged"),
    accepted("15a", "a link, given by the user, to a file elsewhere", link_to_good),
    accepted("15b", "a file with two names", second_name),
    Case("15c", "a folder whose weights are a link out of it", folder_that_links_out, 4, "file.link"),
    accepted("15d", "a snapshot in Hugging Face's cache, of links to its blobs", snapshot),
    Case("23a", "a NUL in a tensor's name", tensors("fc\0.weight"), 3, "tensor.name", says=r"fc\x00"),
    Case("23b", "a terminal's control sequence in a name", tensors("\x1b[2Jfc"), 3, "tensor.name", says=r"\x1b[2J"),
    Case("23c", "a turn of direction in a name", tensors("fc\u202ethgiew"), 3, "tensor.name", says=r"\u202e"),
    Case("23d", "a name of a megabyte", tensors("n" * 10**6), 3, "tensor.name"),
    Case("23e", "a tensor without a name", tensors(""), 3, "tensor.name"),
    Case("23f", "a tensor's name that leads up", tensors("../../fc.weight"), 3, "tensor.name"),
    Case(
        "23g", "an empty file with control signs in its name", file_with("we\x1b[2J\rights.pth", b""), 3, "file.empty"
    ),
    accepted("23h", "a whole file of a name with control signs", renamed(".npz", "we\x1b[2J\nights.npz")),
    accepted("23i", "a whole file of a name that is no UTF-8", renamed(".npz", os.fsdecode(b"we\xffights.npz"))),
    Case(
        "24a", "names that differ in their case alone", tensors("FC.weight"), 3, "weights.mismatch", says="+ FC.weight"
    ),
    Case("24b", "names that look alike", tensors("fc.\u00e9", "fc.e\u0301"), 3, "weights.mismatch", says="+ fc."),
)
