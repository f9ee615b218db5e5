"""Threads for the work on one file: reading, hashing, copying and comparing all release the GIL.

A batch converts as many files at a time as there are processors, each in its own process; there `ONE_THREAD` is set.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Event
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ShouldContinue = Callable[[], bool]
"""A function that returns False once the result is no longer needed."""

ONE_THREAD: ContextVar[bool] = ContextVar("ONE_THREAD", default=False)
"""Whether all work is done in the calling thread."""

MAX_THREADS = 4
"""Each thread holds one or two tensors; more threads are limited by the memory bandwidth."""


def thread_count() -> int:
    """The number of processors that this process may use, at most `MAX_THREADS`."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_THREADS)


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to all items, in `thread_count()` threads.

    Each thread takes every n-th item: scheduling the items one by one takes longer than most of the calls.

    Args:
        function: Called with each item, from several threads at a time.
        items: The items.

    Returns:
        The results in the order of the items.
    """
    count = 1 if ONE_THREAD.get() else thread_count()
    items = list(items)
    results: list[Any] = [None] * len(items)

    def work(first: int) -> None:
        for index in range(first, len(items), count):
            results[index] = function(items[index])

    if count == 1:
        work(0)
    else:
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(work, range(count)))
    return results


@contextmanager
def background_queue(function: Callable[[Item], Result]) -> Iterator[Callable[[Item], Callable[[], Result]]]:
    """Apply a function to submitted items, one after the other in a background thread.

    Yields:
        A function that submits an item; it returns a function that waits for the result.
    """
    if ONE_THREAD.get():
        yield lambda item: partial(function, item)
        return
    with ThreadPoolExecutor(1) as thread:
        yield lambda item: thread.submit(function, item).result


@contextmanager
def in_background(function: Callable[[ShouldContinue], Result]) -> Iterator[Callable[[], Result]]:
    """Run a function in a background thread during the `with` block.

    The block does not end before the function does. The function's argument returns False once the block has failed.

    Yields:
        A function that waits for the result.
    """
    if ONE_THREAD.get():
        yield partial(function, lambda: True)
        return
    failed = Event()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(function, lambda: not failed.is_set())
        try:
            yield future.result
        except BaseException:
            failed.set()
            raise
