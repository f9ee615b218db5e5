"""Runs a batch, with a separate process for each item."""

import contextlib
import json
import multiprocessing
import signal
import threading
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
"""The id of an item whose process ended without a result."""

Locate = Callable[[str], Path]
"""Returns the path of a source, which may be an address."""

Describe = Callable[[Exception], tuple[int, str]]
"""Returns the exit status and the id of an error."""


def run_batch(
    items: Sequence[Item],
    out: Path,
    options: Options,
    *,
    jobs: int,
    resume: bool = False,
    shard: BatchShard | None = None,
    locate: Locate = Path,
    describe: Describe = lambda error: (1, type(error).__name__),
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Convert the items of a batch.

    An item that fails does not stop the batch: its result has the status and the message of the error.

    Args:
        items: The items of the whole batch, as `items_in` lists them.
        out: The output folder, which is created if it does not exist. The results are written to `shard.results` in it.
        options: How every item is converted.
        jobs: The number of items to convert at a time.
        resume: Whether to resume an interrupted batch, and skip items whose source and target have not changed.
        shard: The part of the batch to convert; all of it if not given.
        locate: Returns the path of a source. It is called in other processes, too, like `describe`.
        describe: Returns the exit status and the id of an error.
        on_result: Is called with each result, in the order in which the items finish.

    Returns:
        The results in the order of the items.

    Raises:
        TargetExists: The folder contains the results of an earlier batch, and neither `resume` nor `options.force` is
            set.
    """
    shard = shard or BatchShard()
    items = [item for item in items if shard.has(item)]
    out.mkdir(parents=True, exist_ok=True)
    path = out / shard.results
    with Journal(path.with_name(path.name + ".part"), path, resume, options) as journal:
        waiting = []
        results: dict[str, Result] = {}
        for item in items:
            if earlier := journal.finished_result(item, out, locate):
                results[item.target] = earlier
                on_result(earlier)
            else:
                waiting.append(item)
        for item, result in _convert_all(waiting, out, options, jobs, journal, locate, describe):
            journal.append({"done": result})
            results[item.target] = result
            on_result(result)
        ordered = [results[item.target] for item in items]
        with atomic_write(path, replace=True) as temporary:
            temporary.write_text("".join(json.dumps(result) + "\n" for result in ordered))
    return ordered


def _convert_all(
    items: Sequence[Item],
    out: Path,
    options: Options,
    jobs: int,
    journal: Journal,
    locate: Locate,
    describe: Describe,
) -> Iterator[tuple[Item, Result]]:
    """Convert items, `jobs` at a time, and yield each with its result when it finishes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "se_weights.batch", *(known.path for known in FORMATS)])
    waiting = list(reversed(items))
    running: dict[Connection, tuple[Item, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                item = waiting.pop()
                force = options.force or journal.may_overwrite(item)
                journal.append({"begun": item.target})
                receiver, sender = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_convert_item, args=(item, str(out), options, force, locate, describe, sender)
                )
                with delayed_interrupt():
                    process.start()
                    sender.close()
                    running[receiver] = item, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                item, process = running.pop(ready)
                try:
                    result = ready.recv()
                except (EOFError, OSError):
                    process.join()
                    message = f"its process ended with exit code {process.exitcode} and without a result"
                    result = _result(item, options, 1, KILLED, message)
                process.join()
                yield item, result
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


@contextlib.contextmanager
def delayed_interrupt() -> Iterator[None]:
    """Delays Ctrl-C, which would leave a process half started, and its traceback on the terminal.

    The mask is for the server of processes, which inherits it. Here it does not suffice: the signal may reach another
    thread, such as one of a numerical library, and Python then runs the handler in this one.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            signal.raise_signal(signal.SIGINT)


def _convert_item(
    item: Item, out: str, options: Options, force: bool, locate: Locate, describe: Describe, sender: Connection
) -> None:
    """Convert one item in its own process. Interrupts are left to the parent, which kills this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ONE_THREAD.set(True)
    target = Path(out, item.target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = convert(
            locate(item.source),
            target,
            dialect=options.dialect,
            source_dialect=item.dialect or options.source_dialect,
            architecture=item.architecture or options.architecture,
            prefix=item.prefix or options.prefix,
            changes=options.changes,
            manifest=options.manifest,
            force=force,
        )
        details = {
            "architecture": checkpoint.architecture.name,
            "dialect": checkpoint.dialect,
            "weights_sha256": checkpoint.weights_sha256,
            "source_sha256": checkpoint.metadata["source_sha256"],
            "target_sha256": file_sha256(target),
            **({"manifest_sha256": file_sha256(record_path(target))} if options.manifest else {}),
        }
        result = _result(item, options, 0, "ok", "converted", **details)
    except Exception as error:
        result = _result(item, options, *describe(error), str(error))
    with contextlib.suppress(BrokenPipeError):  # the parent was killed
        sender.send(result)


def _result(item: Item, options: Options, status: int, reason: str, message: str, **details: Any) -> Result:
    return {
        "source": item.source,
        "target": item.target,
        "options": options.digest,
        "status": status,
        "id": reason,
        "message": message,
        **details,
    }
