"""Batches: each item fails alone, and an interrupted batch that is resumed gives the files of an uninterrupted one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import se_weights
from parity_tests.support.isolated_process import folder_contents, se_resnet, tiny_checkpoint
from se_cli.statuses import describe
from se_weights import MalformedFile, TargetExists, UnsupportedFormat, weights_sha256
from se_weights.batch import KILLED, BatchShard, Options, items_in, run_batch
from se_weights.batch.running import delayed_interrupt
from se_weights.provenance.conversion_record import record_path

SUFFIXES = (".npz", ".safetensors", ".pth", ".msgpack")
SWEEP = pytest.mark.sweep


def convert_batch(source: Path, out: Path, *arguments: object):
    return se_resnet("convert", "--batch", source, out, "--jobs", 2, *arguments)


def results(out: Path, name: str = "results.jsonl") -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


@pytest.fixture
def folder(tmp_path):
    """Files of several formats in nested folders, a checkpoint that is a folder, an invalid file, and other files."""
    folder = tmp_path / "from"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / ".cache").mkdir()
    se_weights.write(tiny_checkpoint(1), folder / "one.npz")
    se_weights.write(tiny_checkpoint(2), folder / "deep" / "two.pth")
    se_weights.write(tiny_checkpoint(3), folder / "deep" / "deeper" / "three.weights.h5")
    se_weights.write(tiny_checkpoint(4), folder / "deep" / "four.hf", shard_bytes=1000)
    se_weights.write(tiny_checkpoint(5), folder / ".cache" / "hidden.npz")
    (folder / "bad.safetensors").write_bytes(b"not weights at all")
    (folder / "notes.txt").write_text("no weights")
    return folder


CONVERTED = {"one": 1, "deep/two": 2, "deep/deeper/three": 3, "deep/four": 4}


def test_a_folder_is_converted_recursively_and_a_bad_file_fails_alone(folder, tmp_path):
    out = tmp_path / "to"
    ran = convert_batch(folder, out, "--to", ".npz", "--json")
    assert ran.returncode == 3, ran.stderr
    assert "Traceback" not in ran.stderr
    facts = json.loads(ran.stdout)
    assert (facts["items"], facts["converted"], facts["failed"]) == (5, 4, 1)
    for name, seed in CONVERTED.items():
        assert weights_sha256(se_weights.read(out / f"{name}.npz").weights) == weights_sha256(
            tiny_checkpoint(seed).weights
        )
    found = {line["target"]: line for line in results(out)}
    assert set(found) == {*(f"{name}.npz" for name in CONVERTED), "bad.npz"}
    bad = found.pop("bad.npz")
    alone = se_resnet("convert", folder / "bad.safetensors", tmp_path / "bad.npz")
    assert bad["status"] == alone.returncode == 3
    assert f"[{bad['id']}]" in alone.stderr
    for target, line in found.items():
        assert (line["status"], line["id"]) == (0, "ok")
        assert line["target_sha256"] == se_weights.file_sha256(out / target)
        assert line["source_sha256"] == se_weights.file_sha256(Path(line["source"]))
    assert set(folder_contents(out)) == {*found, "results.jsonl"}


def test_a_list_can_name_targets_and_dialects(tmp_path):
    words = se_weights.DIALECTS["pytorchcv-b"]
    known = tiny_checkpoint(depths=(1, 1), widths=(16, 32), squeeze={"bias": True}).architecture
    known = known.replace(block="bottleneck", reduction=16, stride_in="conv2")
    rng = np.random.default_rng(0)
    ambiguous = {name: rng.normal(size=shape).astype("f4") for name, shape in words.shapes(known).items()}
    np.savez(tmp_path / "cv.npz", **ambiguous)
    se_weights.write(tiny_checkpoint(), tmp_path / "plain.pth")
    lines = [
        str(tmp_path / "plain.pth"),
        "",
        json.dumps({"source": str(tmp_path / "plain.pth"), "target": "under/another.msgpack"}),
        json.dumps({"source": str(tmp_path / "cv.npz"), "dialect": "pytorchcv-b"}),
        json.dumps({"source": str(tmp_path / "cv.npz"), "target": "unsaid.npz"}),
        json.dumps({"source": str(tmp_path / "nowhere.npz")}),
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    out = tmp_path / "to"
    ran = convert_batch(tmp_path / "list.jsonl", out, "--to", ".npz")
    found = {line["target"]: (line["status"], line["id"]) for line in results(out)}
    assert found == {
        "plain.npz": (0, "ok"),
        "under/another.msgpack": (0, "ok"),
        "cv.npz": (0, "ok"),
        "unsaid.npz": (2, "dialect.ambiguous"),
        "nowhere.npz": (6, "io.missing"),
    }
    assert ran.returncode == 6
    assert se_weights.read(out / "cv.npz").architecture.stride_in == "conv2"


def test_each_line_or_the_whole_batch_names_the_network_in_files_of_several(tmp_path):
    networks = {name: tiny_checkpoint(seed) for seed, name in enumerate(("student", "teacher"))}
    both = {f"{name}.{key}": array for name, network in networks.items() for key, array in network.weights.items()}
    np.savez(tmp_path / "both.npz", **both)
    lines = [{"source": str(tmp_path / "both.npz"), "target": "named.npz", "prefix": "student"}]
    lines += [{"source": str(tmp_path / "both.npz"), "target": "unnamed.npz"}]
    (tmp_path / "list").write_text("\n".join(map(json.dumps, lines)))
    convert_batch(tmp_path / "list", tmp_path / "to", "--to", ".npz")
    ran = convert_batch(tmp_path / "list", tmp_path / "all", "--to", ".npz", "--prefix", "teacher")
    assert [line["id"] for line in results(tmp_path / "to")] == ["ok", "prefix.ambiguous"]
    assert ran.returncode == 0, ran.stderr
    for path, network in (("to/named", "student"), ("all/named", "student"), ("all/unnamed", "teacher")):
        assert weights_sha256(se_weights.read(tmp_path / f"{path}.npz").weights) == networks[network].weights_sha256
    both_files = str(tmp_path / "both.npz"), str(tmp_path / "all" / "unnamed.npz")
    statuses = {name: se_resnet("compare", *both_files, "--prefix", name).returncode for name in (*networks, "ema")}
    assert statuses == {"student": 1, "teacher": 0, "ema": 2}


@pytest.mark.parametrize(
    "line",
    [
        '{"source": 5}',
        '{"target": "a.npz"}',
        "{",
        '{"source": "a.npz", "color": "red"}',
        '{"source": "a.npz", "target": 3}',
    ]
    + [json.dumps({"source": "a.npz", "target": target}) for target in ("../a.npz", "/tmp/a.npz", "b/../../a.npz")],
)
def test_an_invalid_line_is_refused_before_anything_is_written(tmp_path, line):
    (tmp_path / "list").write_text(f"first.npz\n{line}\n")
    with pytest.raises(MalformedFile, match="list"):
        items_in(tmp_path / "list", tmp_path / "to", ".npz")


def test_a_weights_file_is_not_read_as_a_list(tmp_path):
    se_weights.write(tiny_checkpoint(), tmp_path / "a.npz")
    ran = convert_batch(tmp_path / "a.npz", tmp_path / "to")
    assert ran.returncode == 3, ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "to").exists()


def test_two_sources_with_the_same_target_are_refused(tmp_path):
    (tmp_path / "from").mkdir()
    for name in ("a.npz", "a.pth"):
        se_weights.write(tiny_checkpoint(), tmp_path / "from" / name)
    ran = convert_batch(tmp_path / "from", tmp_path / "to")
    assert ran.returncode == 5
    assert "would both become a.safetensors" in ran.stderr
    assert not (tmp_path / "to").exists()


def test_a_source_that_is_listed_twice_is_converted_once(tmp_path):
    se_weights.write(tiny_checkpoint(), tmp_path / "a.npz")
    (tmp_path / "list").write_text(f"{tmp_path / 'a.npz'}\n" * 3)
    ran = convert_batch(tmp_path / "list", tmp_path / "to")
    assert ran.returncode == 0, ran.stderr
    assert [line["id"] for line in results(tmp_path / "to")] == ["ok"]


def test_a_batch_is_never_written_into_the_folder_that_it_reads(folder):
    ran = convert_batch(folder, folder)
    assert ran.returncode == 6
    assert "target.exists" in ran.stderr
    assert "results.jsonl" not in folder_contents(folder)


def test_targets_inside_the_source_folder_are_not_read_as_sources(folder):
    (folder / "bad.safetensors").unlink()
    out = folder / "to"
    for _ in range(2):
        assert convert_batch(folder, out, "--resume").returncode == 0
        assert len(results(out)) == 4


def test_a_second_run_requires_resume_or_force(folder, tmp_path):
    (folder / "bad.safetensors").unlink()
    out = tmp_path / "to"
    assert convert_batch(folder, out).returncode == 0
    before = folder_contents(out)
    ran = convert_batch(folder, out)
    assert ran.returncode == 6
    assert "--resume" in ran.stderr
    assert folder_contents(out) == before
    for option in ("--resume", "--force"):
        assert convert_batch(folder, out, option).returncode == 0
        assert folder_contents(out) == before


def test_resume_skips_items_whose_source_target_and_options_are_unchanged(folder, tmp_path):
    (folder / "bad.safetensors").unlink()
    out = tmp_path / "to"
    assert convert_batch(folder, out, "--manifest").returncode == 0
    targets = {name: out / f"{name}.safetensors" for name in CONVERTED}
    whole = folder_contents(out)
    inodes = {name: path.stat().st_ino for name, path in targets.items()}
    damaged = bytearray(targets["one"].read_bytes())
    damaged[-1] ^= 1
    targets["one"].write_bytes(damaged)
    targets["deep/two"].unlink()
    record_path(targets["deep/deeper/three"]).write_text("{}")
    assert convert_batch(folder, out, "--manifest", "--resume").returncode == 0
    assert folder_contents(out) == whole
    anew = {name for name, path in targets.items() if path.stat().st_ino != inodes[name]}
    assert anew - {"deep/two"} == {"one", "deep/deeper/three"}  # the inode of the deleted file may be reused

    inodes = {name: path.stat().st_ino for name, path in targets.items()}
    se_weights.write(tiny_checkpoint(9), folder / "one.npz", force=True)
    assert convert_batch(folder, out, "--manifest", "--resume").returncode == 0
    assert weights_sha256(se_weights.read(targets["one"]).weights) == weights_sha256(tiny_checkpoint(9).weights)
    assert {name for name, path in targets.items() if path.stat().st_ino != inodes[name]} == {"one"}

    assert convert_batch(folder, out, "--manifest", "--resume", "--dtype", "float16").returncode == 0
    assert {se_weights.read(path).weights["fc.bias"].dtype.name for path in targets.values()} == {"float16"}


def test_resume_retries_failed_items(folder, tmp_path):
    out = tmp_path / "to"
    assert convert_batch(folder, out).returncode == 3
    se_weights.write(tiny_checkpoint(), folder / "bad.safetensors", force=True)
    assert convert_batch(folder, out, "--resume").returncode == 0
    assert {line["status"] for line in results(out)} == {0}


def test_a_target_that_the_batch_did_not_write_is_kept(folder, tmp_path):
    out = tmp_path / "to"
    out.mkdir()
    (out / "one.safetensors").write_bytes(b"precious")
    ran = convert_batch(folder, out, "--resume")
    assert ran.returncode == 6
    assert (out / "one.safetensors").read_bytes() == b"precious"
    assert {line["target"]: line["id"] for line in results(out)}["one.safetensors"] == "target.exists"


def test_shards_partition_a_batch_and_depend_only_on_the_names(tmp_path):
    paths = [tmp_path / f"{number}.npz" for number in range(100)]
    (tmp_path / "list").write_text("\n".join(map(str, paths)))
    (tmp_path / "reversed").write_text("\n".join(map(str, reversed(paths))))
    for count in (1, 2, 7):
        shares = [BatchShard(number, count) for number in range(1, count + 1)]
        items = items_in(tmp_path / "list", tmp_path, ".pth")
        parts = [[item for item in items if share.has(item)] for share in shares]
        assert Counter(item for part in parts for item in part) == Counter(items)
        assert all(parts)
        again = items_in(tmp_path / "reversed", tmp_path, ".pth")
        assert [{item for item in again if share.has(item)} for share in shares] == list(map(set, parts))


def test_all_shards_together_give_the_files_of_one_batch(folder, tmp_path):
    (folder / "bad.safetensors").unlink()
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    assert convert_batch(folder, whole).returncode == 0
    for number in (1, 2, 3):
        assert convert_batch(folder, shared, "--shard", f"{number}/3").returncode == 0
    lines = [line for number in (1, 2, 3) for line in results(shared, f"results-{number}-of-3.jsonl")]
    order = [line["target"] for line in results(whole)]
    assert sorted(lines, key=lambda line: order.index(line["target"])) == results(whole)
    assert {name: data for name, data in folder_contents(shared).items() if not name.startswith("results")} == {
        name: data for name, data in folder_contents(whole).items() if name != "results.jsonl"
    }
    for wrong in ("0/3", "4/3", "1", "a/b"):
        assert convert_batch(folder, shared, "--shard", wrong).returncode == 2


def test_an_item_whose_process_is_killed_fails_alone(folder, tmp_path):
    (folder / "bad.safetensors").unlink()
    big = folder / "big.npz"
    se_weights.write(tiny_checkpoint(7, widths=(512,)), big)
    items = items_in(folder, tmp_path / "to", ".pth")
    killed = []

    def kill(stop: threading.Event) -> None:
        while not stop.is_set() and not killed:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    held = [handle.readlink() for handle in (process / "fd").iterdir()]
                except OSError:
                    continue
                if big in held and int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(process.name)
                    break

    stop = threading.Event()
    killer = threading.Thread(target=kill, args=(stop,))
    killer.start()
    try:
        found = run_batch(items, tmp_path / "to", Options(".pth"), jobs=2, describe=describe)
    finally:
        stop.set()
        killer.join()
    assert killed
    by_name = {Path(line["source"]).name: line["id"] for line in found}
    assert by_name == {"big.npz": KILLED, "one.npz": "ok", "two.pth": "ok", "three.weights.h5": "ok", "four.hf": "ok"}
    found = run_batch(items, tmp_path / "to", Options(".pth"), jobs=2, describe=describe, resume=True)
    assert {line["id"] for line in found} == {"ok"}


def many(folder: Path, count: int) -> Path:
    """This many small checkpoints, of several formats and in several folders; one in twenty is invalid."""
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:03}{SUFFIXES[number % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 20 == 7:
            path.write_bytes(b"bad")
        else:
            se_weights.write(tiny_checkpoint(number), path)
    return folder


def started(folder: Path, out: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "se_cli", "convert", "--batch", str(folder), str(out), "--jobs", "2", "--quiet"]
    default_handler = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it
    return subprocess.Popen(
        [*command, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=default_handler
    )


def done(out: Path) -> int:
    journal = out / "results.jsonl.part"
    return journal.read_bytes().count(b'{"done"') if journal.exists() else 0


def interrupted(process: subprocess.Popen, out: Path, after: int, wait: float, how: signal.Signals, all_: bool) -> str:
    """Wait until this many items are done, and then `wait` seconds; then signal the process, or its process group."""
    deadline = time.monotonic() + 120
    while process.poll() is None and done(out) < after and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(wait)
    if process.poll() is None:
        os.killpg(process.pid, how) if all_ else process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    return said if process.returncode else ""


@pytest.mark.parametrize(
    ("suffix", "count", "kills"),
    [
        (".safetensors", 12, 3),
        *(pytest.param(suffix, 40, 5, marks=SWEEP) for suffix in (".npz", ".weights.h5", ".hf", ".msgpack", ".pth")),
        pytest.param(".safetensors", 200, 20, marks=SWEEP),
    ],
)
@pytest.mark.timeout(1800)
def test_a_batch_that_is_killed_repeatedly_converts_every_file_exactly_once(tmp_path, suffix, count, kills):
    folder = many(tmp_path / "from", count)
    whole, out = tmp_path / "whole", tmp_path / "to"
    options = ("--to", suffix, "--manifest")
    assert convert_batch(folder, whole, *options).returncode == 3
    chance = random.Random(count)
    struck, reached = 0, []
    for number in range(kills):
        process = started(folder, out, *options, "--resume")
        fresh = len(reached) and reached[-1]
        interrupted(process, out, fresh + chance.randint(0, 3 * count // (2 * kills)), chance.uniform(0, 0.3),
                    signal.SIGKILL, number % 2 == 0)  # fmt: skip
        struck += process.returncode == -signal.SIGKILL
        reached.append(done(out))
    ended = started(folder, out, *options, "--resume")
    assert "Traceback" not in ended.communicate(timeout=900)[1]
    assert ended.returncode == 3
    for _ in range(50):  # the last items of a killed batch may still be written
        if not list(out.rglob(".*.part")):
            break
        time.sleep(0.1)
    assert struck
    lines = results(out)
    assert len({line["target"] for line in lines}) == len(lines) == count
    assert folder_contents(out) == folder_contents(whole)
    bad = sum(line["status"] != 0 for line in lines)
    print(f"\n{count} files to {suffix}: killed {struck} times, after {reached} were done; {count - bad} converted, "
          f"{bad} refused, {len(folder_contents(out))} files byte-identical to an uninterrupted run's")  # fmt: skip


def test_an_interrupt_that_another_thread_receives_waits_until_a_process_has_started():
    begun = []

    def start() -> None:
        with delayed_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            begun.append("a process")

    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
        stop.set()
    assert begun


@pytest.mark.parametrize("moment", [0.0, *(pytest.param(0.01 + share / 20, marks=SWEEP) for share in range(0, 40, 5))])
def test_an_interrupt_ends_a_batch_with_130_and_leaves_a_resumable_journal(tmp_path, moment):
    folder = many(tmp_path / "from", 10)
    out = tmp_path / "to"
    process = started(folder, out)
    said = interrupted(process, out, 1, moment, signal.SIGINT, True)
    if process.returncode == 3:
        pytest.skip("it had ended before")
    assert process.returncode == 130
    assert "Traceback" not in said, said
    assert "interrupted" in said
    assert (out / "results.jsonl.part").exists()
    assert not (out / "results.jsonl").exists()
    assert convert_batch(folder, out, "--resume").returncode == 3
    assert not (out / "results.jsonl.part").exists()
    assert convert_batch(folder, tmp_path / "whole").returncode == 3
    assert folder_contents(out) == folder_contents(tmp_path / "whole")


def test_a_journal_with_a_truncated_last_line_is_resumed(folder, tmp_path):
    (folder / "bad.safetensors").unlink()
    out, whole = tmp_path / "to", tmp_path / "whole"
    assert convert_batch(folder, whole).returncode == 0
    shutil.copytree(whole, out)
    lines = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").unlink()
    done_lines = [json.dumps({"done": json.loads(line)}) for line in lines]
    (out / "results.jsonl.part").write_text("\n".join(done_lines)[:-20])
    with pytest.raises(TargetExists, match="--resume"):
        run_batch(items_in(folder, out, ".safetensors"), out, Options(), jobs=1)
    ran = convert_batch(folder, out, "--resume")
    assert ran.returncode == 6  # the target of the truncated line may not be the batch's own
    assert convert_batch(folder, out, "--resume", "--force").returncode == 0
    assert folder_contents(out) == folder_contents(whole)


def test_a_suffix_that_cannot_be_written_is_refused_at_once(folder, tmp_path):
    for suffix in (".h5", ".onnx"):
        assert convert_batch(folder, tmp_path / "to", "--to", suffix).returncode == 5
    assert not (tmp_path / "to").exists()
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(UnsupportedFormat):
        items_in(tmp_path, tmp_path / "to", ".npz") and se_weights.read(tmp_path / "a.onnx")
