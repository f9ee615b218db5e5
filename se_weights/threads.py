"""Work on one file in several threads: reading, hashing, copying and comparing all let other threads run.

A batch converts as many files at a time as there are processors, and each of them alone: there `ONE_THREAD` is set.
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

Wanted = Callable[[], bool]

ONE_THREAD: ContextVar[bool] = ContextVar("ONE_THREAD", default=False)

MOST = 4
"""Threads: each holds a tensor or two, and more would wait for the memory."""


def processors() -> int:
    """How many of them this process may use, of those that help."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(present, MOST)


def for_each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results for all items, in their order, made in as many threads as there are processors.

    A thread takes every n-th item: one that is given item by item waits longer than it works.
    """
    count = 1 if ONE_THREAD.get() else processors()
    items = list(items)
    results: list[Any] = [None] * len(items)

    def work(first: int) -> None:
        for number in range(first, len(items), count):
            results[number] = function(items[number])

    if count == 1:
        work(0)
    else:
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(work, range(count)))
    return results


@contextmanager
def background_queue(function: Callable[[Item], Result]) -> Iterator[Callable[[Item], Callable[[], Result]]]:
    """A thread that works through what it is handed, in order; what handing over gives waits for the result."""
    if ONE_THREAD.get():
        yield lambda item: partial(function, item)
        return
    with ThreadPoolExecutor(1) as thread:
        yield lambda item: thread.submit(function, item).result


@contextmanager
def in_background(function: Callable[[Wanted], Result]) -> Iterator[Callable[[], Result]]:
    """Begin something beside what follows; what this gives waits for it.

    The function is given what tells whether it is still wanted: it is not, once what follows has failed.
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
