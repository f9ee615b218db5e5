"""The items of a batch, each in a process of its own."""

import contextlib
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from se_weights.batch.items import BatchShard, Item
from se_weights.batch.journal import Journal, Result
from se_weights.batch.options import Options
from se_weights.convert import convert
from se_weights.files import FORMATS
from se_weights.files.hashing import file_sha256
from se_weights.provenance.conversion_record import record_path
from se_weights.threads import ONE_THREAD
from se_weights.writing.atomic_write import atomic_write

KILLED = "process.killed"
"""The id of an item whose process ended without a word."""


def run_batch(
    items: Sequence[Item],
    out: Path,
    options: Options,
    *,
    jobs: int,
    resume: bool = False,
    share: BatchShard | None = None,
    describe: Callable[[Exception], tuple[int, str]] = lambda error: (1, type(error).__name__),
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Convert the items of a share; the results are returned, and kept in the file `share.results` of the folder.

    `describe` gives the status and the id of an error. Raises TargetExists where the folder holds the results of an
    earlier batch, unless that is to be resumed, or overwritten (options.force).
    """
    share = share or BatchShard()
    items = [item for item in items if share.has(item)]
    out.mkdir(parents=True, exist_ok=True)
    results = out / share.results
    with Journal(results.with_name(results.name + ".part"), results, resume, options) as journal:
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
        with atomic_write(results, replace=True) as temporary:
            temporary.write_text("".join(json.dumps(result) + "\n" for result in ordered))
    return ordered


def _converted(
    items: Sequence[Item],
    out: Path,
    options: Options,
    jobs: int,
    journal: Journal,
    describe: Callable[[Exception], tuple[int, str]],
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, as they come; so many at a time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "se_weights.batch", *(known.path for known in FORMATS)])
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
    ONE_THREAD.set(True)
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
            **({"manifest_sha256": file_sha256(record_path(target))} if options.manifest else {}),
        }
        result = _result(item, options, 0, "ok", "converted", **facts)
    except Exception as error:
        result = _result(item, options, *describe(error), str(error))
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        answer.send(result)


def _result(item: Item, options: Options, status: int, reason: str, message: str, **facts: Any) -> Result:
    place = {"source": item.source, "target": item.target, "options": options.digest}
    return {**place, "status": status, "id": reason, "message": message, **facts}
