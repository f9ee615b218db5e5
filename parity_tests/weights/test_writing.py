"""Writing under kills, full disks, races and changing sources keeps the old target and leaves no partial file."""

import contextlib
import ctypes
import errno
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

import se_weights
from parity_tests.support.crash_injection import ABSENT, CORRUPT, NEW, OLD, CrashCase, kill_at_every_step
from parity_tests.support.isolated_process import NOBODY, folder_contents, run_isolated, se_resnet, tiny_checkpoint
from se_weights import SourceChanged, TargetExists, UnsupportedFormat, WriteFailed, weights_sha256
from se_weights.provenance.conversion_record import record_path
from se_weights.writing import atomic_write as replacing

SUFFIXES = [".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz", ".hf"]
SWEEP = pytest.mark.sweep

CASES = [CrashCase(".npz", existing=True, force=True), CrashCase(".hf", existing=True, force=True)]
"""Killed in every run at the first and the last execution of each line; the sweep kills the first case at each one."""

SWEEP_CASES = [
    CrashCase(suffix, existing, existing or force, tmpfile)
    for suffix in SUFFIXES
    for existing, force in ((False, False), (True, True))
    for tmpfile in (True, False)
    if tmpfile or suffix == ".npz"
]
"""Killed in the sweep at the first and the last execution of each line."""


@pytest.mark.parametrize(
    ("case", "every_time"),
    [(case, False) for case in CASES]
    + [pytest.param(CASES[0], True, marks=SWEEP)]
    + [pytest.param(case, False, marks=SWEEP) for case in SWEEP_CASES if case not in CASES],
    ids=lambda value: ("all" if value else "first and last") if isinstance(value, bool) else str(value),
)
@pytest.mark.timeout(900)
def test_kill_9_at_any_step_leaves_the_old_target_or_the_complete_new_one(tmp_path, case, every_time):
    place = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path))
    try:
        steps = run_isolated(kill_at_every_step, case, place / "kills", every_time)
    finally:
        shutil.rmtree(place)
    before = OLD if case.existing else ABSENT
    for step in steps:
        assert step.source == OLD, step
        assert step.target in (before, NEW), step
        assert step.record == before or step.target == step.record == NEW, step
        if case.tmpfile and case.suffix != ".hf":  # the file has a second name only between linking and renaming
            assert step.leftovers in ((), (NEW,)), step
        else:
            assert len(step.leftovers) <= 1, step
        if step.leftovers:
            other_files = {name for name in step.after_rewrite[1:] if not name.startswith(("source.", "target."))}
            assert step.after_rewrite[0] == NEW, step
            assert not other_files, step
    assert {step.target for step in steps} == {before, NEW}
    assert CORRUPT not in {state for step in steps for state in (step.target, step.record)}
    print(
        f"\n{case}: killed at {len(steps)} steps, {sum(bool(step.leftovers) for step in steps)} left a temporary file"
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.npz"
    se_weights.write(tiny_checkpoint(), path)
    return path


def targets(suffixes=tuple(SUFFIXES)):
    return pytest.mark.parametrize("suffix", suffixes)


def expect_refused(ran, *ids):
    """The command ended with status 6, one of these refusal ids and no traceback."""
    assert ran.returncode == 6, ran
    assert "Traceback" not in ran.stderr
    assert any(f"[{reason}]" in ran.stderr for reason in ids), ran.stderr


@targets()
@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path, source, suffix, earlier):
    target = tmp_path / f"target{suffix}"
    if earlier:
        se_weights.write(tiny_checkpoint(1), target)
    before = folder_contents(tmp_path)
    for size in (0, 100, 2000):
        ran = se_resnet("convert", source, target, "--force", file_size=size)
        expect_refused(ran, "io.full", "target.failed")
        assert target.name in ran.stderr
        assert folder_contents(tmp_path) == before


def on_a_small_disk(mount: Path, suffix: str, free: int) -> tuple[list[str], str]:
    """Convert on a full small file system in a private mount namespace; return the files left there and the error."""
    library = ctypes.CDLL(None, use_errno=True)
    private, namespace = 1 << 18 | 1 << 14, 0x00020000
    for answer in (
        library.unshare(namespace),
        library.mount(b"none", b"/", None, private, None),
        library.mount(b"tmpfs", os.fsencode(mount), b"tmpfs", 0, b"size=256k"),
    ):
        if answer:
            return [], os.strerror(ctypes.get_errno())
    se_weights.write(tiny_checkpoint(widths=(16,)), mount / "source.npz")
    filler = os.open(mount / "filler", os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(filler, bytes(4096))
    os.truncate(mount / "filler", (mount / "filler").stat().st_size - free)
    try:
        se_weights.convert(mount / "source.npz", mount / f"target{suffix}")
    except OSError as error:
        return sorted(path.name for path in mount.iterdir()), errno.errorcode[error.errno]
    return [], "it was written"


@targets()
def test_a_full_small_file_system_is_reported_and_leaves_no_file(tmp_path, suffix):
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    left, error = run_isolated(on_a_small_disk, tmp_path, suffix, 8192)
    if error in (os.strerror(errno.EPERM), os.strerror(errno.ENOSYS)):
        pytest.skip(f"no file system can be mounted here: {error}")
    assert (left, error) == (["filler", "source.npz"], "ENOSPC")


@targets()
def test_a_read_only_folder_is_reported(source, suffix):
    place = Path(tempfile.mkdtemp())  # another user may not enter tmp_path
    try:
        shutil.copy(source, place / "source.npz")
        place.chmod(0o555)
        target = place / f"target{suffix}"
        ran = se_resnet("convert", place / "source.npz", target, user=NOBODY if os.geteuid() == 0 else None)
        expect_refused(ran, "io.permission")
        assert str(place) in ran.stderr
        assert list(folder_contents(place)) == ["source.npz"]
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


def race(folder: Path, suffix: str, force: bool, rounds: int) -> list[tuple[list[int], list[str], str]]:
    """Two processes write the same target at the same time, for several rounds.

    Returns for each round the exit codes, the temporary files left behind, and the hash of the target's weights.
    """
    writing = sys.modules["se_weights.writing.write"]
    context = multiprocessing.get_context("fork")
    expect_same = writing._expect_same
    ended = []
    for number in range(rounds):
        together = context.Barrier(2)

        def wait(*arguments, together=together):
            expect_same(*arguments)
            together.wait(60)

        writing._expect_same = wait  # both have found that the target does not exist, and are about to rename
        target = folder / f"{number}{suffix}"
        writers = [context.Process(target=_write, args=(seed, target, force)) for seed in (1, 2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        codes = sorted(writer.exitcode for writer in writers)
        ended.append((codes, left, weights_sha256(se_weights.read(target).weights)))
    return ended


def _write(seed: int, target: Path, force: bool) -> None:
    try:
        se_weights.write(tiny_checkpoint(seed), target, force=force)
    except TargetExists:
        os._exit(6)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".hf"])
@pytest.mark.parametrize("rounds", [12, pytest.param(60, marks=SWEEP)])
def test_one_of_two_concurrent_writers_wins_or_both_succeed_with_force(tmp_path, suffix, force, rounds):
    whole = {weights_sha256(tiny_checkpoint(seed).weights) for seed in (1, 2)}
    for codes, left, held in run_isolated(race, tmp_path, suffix, force, rounds):
        assert codes == ([0, 0] if force else [0, 6])
        assert left == []
        assert held in whole


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def rewritten(path):
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)


def extended(path):
    with path.open("ab") as file:
        file.write(b" ")


def removed(path):
    path.unlink()


CHANGES = [replaced, rewritten, extended, removed]


def while_read(change, path):
    """Apply a change to a file between opening it and loading its tensors."""
    reading = sys.modules["se_weights.reading.read"]
    unwrap = reading.unwrap

    def meanwhile(tensors):
        change(path)
        return unwrap(tensors)

    reading.unwrap = meanwhile


@targets((".pth", ".safetensors", ".weights.h5", ".msgpack", ".npz"))
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_while_it_is_read_is_not_converted(tmp_path, suffix, change):
    path, target = tmp_path / f"source{suffix}", tmp_path / "target.pth"
    se_weights.write(tiny_checkpoint(), path)
    ran = se_resnet("convert", path, target, setup=partial(while_read, change, path))
    expect_refused(ran, "source.changed")
    assert not target.exists()


def sharded(path: Path) -> Path:
    se_weights.write(tiny_checkpoint(), path, shard_bytes=1000)
    assert len(list(path.glob("model-*"))) > 2
    return path


@pytest.mark.parametrize("named", ["", "model.safetensors.index.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_changes_while_it_is_read_is_not_converted(tmp_path, monkeypatch, named, change):
    folder = sharded(tmp_path / "source.hf")
    monkeypatch.setattr("se_weights.reading.read.unwrap", sys.modules["se_weights.reading.read"].unwrap)
    while_read(change, folder / "model-00002-of-{:05}.safetensors".format(len(list(folder.glob("model-*-of-*")))))
    with pytest.raises(SourceChanged, match="changed while it was read"):
        se_weights.convert(folder / named, tmp_path / "target.pth")
    assert not (tmp_path / "target.pth").exists()


def test_a_target_that_is_the_source_under_another_name_is_refused(tmp_path, source):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.npz").symlink_to(source)
    os.link(source, tmp_path / "hard.npz")
    (tmp_path / "linked").symlink_to(tmp_path)
    before = source.read_bytes()
    others = ["link.npz", "hard.npz", "folder/../source.npz", "linked/source.npz"]
    for one, other in [(name, "source.npz") for name in others] + [("source.npz", name) for name in others]:
        with pytest.raises(TargetExists, match="source itself"):
            se_weights.convert(tmp_path / one, tmp_path / other, force=True)
    assert source.read_bytes() == before


def test_a_target_inside_the_source_or_the_reverse_is_refused(tmp_path):
    folder = sharded(tmp_path / "source.hf")
    before = folder_contents(tmp_path)
    for target in ("a.pth", "a.hf", "model-00001-of-00002.safetensors"):
        with pytest.raises(TargetExists, match="one contains the other"):
            se_weights.convert(folder, folder / target, force=True)
    with pytest.raises(TargetExists, match="one contains the other"):
        se_weights.convert(folder / "model.safetensors.index.json", folder, force=True)
    assert folder_contents(tmp_path) == before


def test_a_target_that_is_a_shard_of_the_source_is_refused(tmp_path):
    folder = sharded(tmp_path / "source.hf")
    before = folder_contents(tmp_path)
    shard = min(folder.glob("model-*-of-*"))
    with pytest.raises(TargetExists, match="source"):
        se_weights.convert(folder / "model.safetensors.index.json", shard, force=True)
    assert folder_contents(tmp_path) == before


def written_with(mask: int, path: Path) -> None:
    os.umask(mask)
    source = path.with_name("source.npz")
    se_weights.convert(source, path, manifest=True)


@targets()
@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_a_file_and_its_conversion_record_have_the_permissions_of_the_umask(tmp_path, source, suffix, mask):
    path = tmp_path / f"target{suffix}"
    run_isolated(written_with, mask, path)
    made = [path, record_path(path), *path.rglob("*")]
    for one in made:
        assert stat.S_IMODE(one.stat().st_mode) == (0o777 if one.is_dir() else 0o666) & ~mask, one


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_never_replaced_by_a_file_nor_a_file_by_a_folder(tmp_path, source, force):
    (tmp_path / "a.pth").mkdir()
    (tmp_path / "a.pth" / "precious").write_text("precious")
    (tmp_path / "a.hf").write_text("precious")
    before = folder_contents(tmp_path)
    for name, kind in (("a.pth", "is a folder"), ("a.hf", "is a file")):
        with pytest.raises(TargetExists, match=kind):
            se_weights.convert(source, tmp_path / name, force=force)
    assert folder_contents(tmp_path) == before


def test_an_existing_folder_is_exchanged_atomically(tmp_path, monkeypatch):
    path = sharded(tmp_path / "a.hf")
    with pytest.raises(TargetExists):
        se_weights.write(tiny_checkpoint(1), path)
    exchange, seen = replacing._exchange, []

    def watched(hidden, target):
        seen.append(folder_contents(target))
        exchange(hidden, target)
        seen.append(folder_contents(target))

    monkeypatch.setattr(replacing, "_exchange", watched)
    se_weights.write(tiny_checkpoint(1), path, force=True)
    assert "model-00001-of-00003.safetensors" in "".join(seen[0]) or len(seen[0]) > 3
    assert seen[1] == folder_contents(path)
    assert sorted(seen[1]) == ["config.json", "model.safetensors"]
    assert [inner.name for inner in tmp_path.iterdir()] == ["a.hf"]


@targets()
@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_target_that_reads_back_differently_leaves_no_file(tmp_path, monkeypatch, suffix, nameless, earlier):
    monkeypatch.setattr(replacing, "O_TMPFILE", replacing.O_TMPFILE if nameless else None)
    path = tmp_path / f"a{suffix}"
    if earlier:
        se_weights.write(tiny_checkpoint(1), path)
    before = folder_contents(tmp_path)
    monkeypatch.setattr("se_weights.writing.write._same_bits", lambda one, other: False)
    with pytest.raises(WriteFailed, match="reading it back gave other values"):
        se_weights.write(tiny_checkpoint(), path, force=earlier)
    assert folder_contents(tmp_path) == before


@targets((".npz", ".weights.h5", ".hf"))
def test_the_same_is_written_without_o_tmpfile(tmp_path, monkeypatch, suffix):
    names = ("with", "without")
    for name in names:
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"a{suffix}"
        se_weights.write(tiny_checkpoint(1), path)
        with pytest.raises(TargetExists):
            se_weights.write(tiny_checkpoint(), path)
        se_weights.write(tiny_checkpoint(), path, force=True)
        monkeypatch.setattr(replacing, "O_TMPFILE", None)
    assert folder_contents(tmp_path / names[0]) == folder_contents(tmp_path / names[1])


def test_temporary_files_of_dead_processes_are_removed_and_of_live_ones_kept(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living, other = (
        tmp_path / f".{name}.{replacing.HOST}-{process}-0123abcd.part"
        for name, process in (("a.npz", ended.pid), ("a.npz", os.getpid()), ("b.npz", ended.pid))
    )
    for path in (dead, living, other):
        path.write_bytes(b"half")
    se_weights.write(tiny_checkpoint(), tmp_path / "a.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, other.name, "a.npz"])


def test_only_a_folder_is_split_into_shards(tmp_path):
    with pytest.raises(UnsupportedFormat, match=r"only a \.hf folder"):
        se_weights.write(tiny_checkpoint(), tmp_path / "a.npz", shard_bytes=1000)
    assert not list(tmp_path.iterdir())
