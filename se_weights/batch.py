"""Many files, each converted in a process of its own, so that a bad one fails alone.

A batch can be killed at any moment and gone on with. Its journal says which targets were begun and which are done; what
is done is known by content, and so is skipped only while source, options and target are what they were. In the end the
journal becomes `results.jsonl`, a line an item in the order of the sources: the same bytes, however often the batch was
interrupted.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from se_weights.casting import cast_to
from se_weights.checkpoint import Checkpoint
from se_weights.convert import convert
from se_weights.errors import MalformedFile, TargetExists, UnsupportedFormat
from se_weights.files import FORMATS, format_of, located
from se_weights.folding import fold_batchnorm
from se_weights.manifests import beside
from se_weights.reading import file_sha256
from se_weights.reorder import rgb_input, standard_classes
from se_weights.replacing import appearing

Change = Callable[[Checkpoint], Checkpoint]
Result = Mapping[str, Any]

KILLED = "process.killed"
"""The id of an item whose process ended without a word."""


@dataclass(frozen=True)
class Options:
    """How every item is converted; `suffix` names the format to write."""

    suffix: str = ".safetensors"
    dialect: str | None = None
    source_dialect: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    rgb_input: bool = False
    standard_classes: bool = False
    fold_batchnorm: bool = False
    manifest: bool = False
    force: bool = False

    @property
    def changes(self) -> list[Change]:
        asked: list[tuple[bool, Change]] = [
            (self.rgb_input, rgb_input),
            (self.standard_classes, standard_classes),
            (self.fold_batchnorm, fold_batchnorm),
        ]
        return [change for wanted, change in asked if wanted] + ([cast_to(self.dtype)] if self.dtype else [])

    @property
    def digest(self) -> str:
        """What must be the same for an item that is done to count as done."""
        facts = {key: value for key, value in asdict(self).items() if key != "force"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Item:
    """A file or folder to convert, and where to, inside the batch's folder; `dialect` is the one to read, if told."""

    source: str
    target: str
    dialect: str | None = None


@dataclass(frozen=True)
class Share:
    """The i-th of n parts of a batch, from 1. What belongs to it depends on an item's own name alone."""

    number: int = 1
    count: int = 1

    def has(self, item: Item) -> bool:
        return int(hashlib.sha256(item.source.encode()).hexdigest(), 16) % self.count == self.number - 1

    @property
    def results(self) -> str:
        """The name of the file of its results."""
        return "results.jsonl" if self.count == 1 else f"results-{self.number}-of-{self.count}.jsonl"


def items_in(source: Path, out: Path, suffix: str) -> list[Item]:
    """The items of a folder, wherever they lie in it; or of a list, with a path or an object of JSON in each line.

    What is listed twice is one item. Raises MalformedFile for a line that is neither, UnsupportedFormat where two would
    become the same file, and TargetExists where the targets would lie among the sources.
    """
    if source.resolve() == out.resolve():
        raise TargetExists(f"{out} is the folder of the sources: choose another for the targets")
    items = list(dict.fromkeys(_in_folder(source, out, suffix) if source.is_dir() else _in_list(source, suffix)))
    by_target: dict[str, Item] = {}
    for item in items:
        if Path(item.target).is_absolute() or ".." in Path(item.target).parts:
            raise MalformedFile(f"{source}: the target {item.target} of {item.source} does not lie inside {out}")
        other = by_target.setdefault(os.path.normcase(item.target), item)
        if other != item:
            clash = f"{other.source} and {item.source} would both become {item.target}"
            raise UnsupportedFormat(f"{clash}: give a list with a target for each")
    return items


def _in_folder(folder: Path, out: Path, suffix: str) -> Iterator[Item]:
    for path in sorted(_checkpoints(folder, out)):
        yield Item(str(path), _renamed(path.relative_to(folder), suffix))


def _checkpoints(folder: Path, out: Path) -> Iterator[Path]:
    suffixes = tuple(suffix for known in FORMATS for suffix in known.suffixes)
    for path in folder.iterdir():
        if path.name.startswith(".") or path.resolve() == out.resolve():
            continue
        if not path.is_dir():
            if path.name.lower().endswith(suffixes):
                yield path
        elif _is_checkpoint(path):
            yield path
        else:
            yield from _checkpoints(path, out)


def _is_checkpoint(folder: Path) -> bool:
    try:
        located(folder)
    except UnsupportedFormat:
        return folder.name.lower().endswith((".hf", ".orbax"))
    return True


def _in_list(path: Path, suffix: str) -> Iterator[Item]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise MalformedFile(f"{path} is no list of files: it is not a text") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line) if line.lstrip().startswith("{") else {"source": line.strip()}
            source = _text(entry.pop("source"))
            target = _text(entry.pop("target", _renamed(Path(Path(source).name), suffix)))
            dialect = entry.pop("dialect", None)
            yield Item(source, target, _text(dialect) if dialect is not None else None)
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedFile(
                f"{path}, line {number}: neither a path nor an object with a source: {error}"
            ) from error
        if entry:
            raise MalformedFile(
                f"{path}, line {number}: only source, target and dialect are known, not {', '.join(entry)}"
            )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TypeError(f"{value!r} is no name")
    return value


def _renamed(path: Path, suffix: str) -> str:
    name = path.name
    for ending in sorted((ending for known in FORMATS for ending in known.suffixes), key=len, reverse=True):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return path.with_name(name + suffix).as_posix()


def run_batch(
    items: Sequence[Item],
    out: Path,
    options: Options,
    *,
    jobs: int,
    resume: bool = False,
    share: Share | None = None,
    describe: Callable[[Exception], tuple[int, str]] = lambda error: (1, type(error).__name__),
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Convert the items of a share; the results are returned, and kept in the file `share.results` of the folder.

    `describe` gives the status and the id of an error. Raises TargetExists where the folder holds the results of an
    earlier batch, unless that is to be resumed, or overwritten (options.force).
    """
    share = share or Share()
    items = [item for item in items if share.has(item)]
    out.mkdir(parents=True, exist_ok=True)
    results = out / share.results
    with _Journal(results.with_name(results.name + ".part"), results, resume, options) as journal:
        waiting = []
        found: dict[str, Result] = {}
        for item in items:
            if done := journal.done(item, out):
                found[item.target] = done
                on_result(done)
            else:
                waiting.append(item)
        for item, result in _converted(waiting, out, options, jobs, journal, describe):
            journal.add({"done": result})
            found[item.target] = result
            on_result(result)
        ordered = [found[item.target] for item in items]
        with appearing(results, replace=True) as temporary:
            temporary.write_text("".join(json.dumps(result) + "\n" for result in ordered))
    return ordered


class _Journal:
    """What was begun and what is done, a line each, on the disk before anything builds on it."""

    def __init__(self, path: Path, results: Path, resume: bool, options: Options) -> None:
        earlier = [known for known in (results, path) if known.exists()]
        if earlier and not (resume or options.force):
            choices = "go on with it (--resume), begin anew (--force), or choose another folder"
            raise TargetExists(f"{earlier[0]} is of an earlier batch: {choices}")
        lines = [line for known in earlier for line in _lines(known)] if resume else []
        if not resume:
            path.unlink(missing_ok=True)
        self.path = path
        self.options = options
        self.begun = {line["begun"] for line in lines if "begun" in line}
        finished = [line.get("done", line) for line in lines if "begun" not in line]
        self.finished = {result["target"]: result for result in finished if "target" in result}

    def __enter__(self) -> "_Journal":
        self.file = self.path.open("ab")
        if self.file.tell():
            self.file.write(b"\n")  # the last line may have been cut off
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.file.close()
        if kind is None:
            self.path.unlink()

    def add(self, line: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def done(self, item: Item, out: Path) -> Result | None:
        """The result of an item that is done and whole."""
        result = self.finished.get(item.target)
        if not result or result["status"] or result["options"] != self.options.digest:
            return None
        target = out / item.target
        try:
            whole = (
                result["source"] == item.source
                and result["source_sha256"] == file_sha256(Path(item.source))
                and result["target_sha256"] == file_sha256(target)
                and (not self.options.manifest or result["manifest_sha256"] == file_sha256(beside(target)))
            )
        except (OSError, KeyError):
            return None
        return result if whole else None

    def ours(self, item: Item) -> bool:
        """Whether what lies under an item's target may be what this batch has left there."""
        return item.target in self.begun or item.target in self.finished


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _converted(
    items: Sequence[Item],
    out: Path,
    options: Options,
    jobs: int,
    journal: _Journal,
    describe: Callable[[Exception], tuple[int, str]],
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, as they come; so many at a time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "se_weights.batch"])
    waiting = list(reversed(items))
    running: dict[Connection, tuple[Item, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                item = waiting.pop()
                force = options.force or journal.ours(item)
                journal.add({"begun": item.target})
                mine, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_convert, args=(item, str(out), options, force, describe, theirs)
                )
                process.start()
                theirs.close()
                running[mine] = item, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                item, process = running.pop(ready)
                try:
                    result = ready.recv()
                except (EOFError, OSError):
                    process.join()
                    result = _result(item, options, 1, KILLED, f"its process ended with {process.exitcode}")
                process.join()
                yield item, result
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


def _convert(
    item: Item,
    out: str,
    options: Options,
    force: bool,
    describe: Callable[[Exception], tuple[int, str]],
    answer: Connection,
) -> None:
    """One item, in its own process. An interrupt is the parent's affair, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target = Path(out, item.target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = convert(
            item.source,
            target,
            dialect=options.dialect,
            source_dialect=item.dialect or options.source_dialect,
            architecture=options.architecture,
            changes=options.changes,
            manifest=options.manifest,
            force=force,
        )
        facts = {
            "architecture": checkpoint.architecture.name,
            "dialect": checkpoint.dialect,
            "weights_sha256": checkpoint.weights_sha256,
            "source_sha256": checkpoint.metadata["source_sha256"],
            "target_sha256": file_sha256(target),
            **({"manifest_sha256": file_sha256(beside(target))} if options.manifest else {}),
        }
        result = _result(item, options, 0, "ok", "converted", **facts)
    except Exception as error:
        result = _result(item, options, *describe(error), str(error))
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        answer.send(result)


def _result(item: Item, options: Options, status: int, reason: str, message: str, **facts: Any) -> Result:
    place = {"source": item.source, "target": item.target, "options": options.digest}
    return {**place, "status": status, "id": reason, "message": message, **facts}


def expect_writable(suffix: str) -> None:
    """Raise UnsupportedFormat where no format of this suffix can be written."""
    if not format_of(Path(f"x{suffix}")).write:
        raise UnsupportedFormat(f"{suffix} files are read only")
