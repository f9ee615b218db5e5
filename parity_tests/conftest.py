from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec

import pytest

from parity_tests.support.cases import each_framework
from parity_tests.support.frameworks import FRAMEWORKS, Framework
from se_parity import Worker

if find_spec("torch"):
    import torch  # noqa: F401  before TensorFlow, whose import may crash otherwise (keras, conftest.py)


@pytest.fixture(scope="session")
def worker_of() -> Iterator[Callable[[str], Worker]]:
    """Returns the worker of a framework, which is started once a session."""
    with ExitStack() as stack:
        yield cache(lambda framework: stack.enter_context(Worker(framework)))


@pytest.fixture(params=each_framework())
def worker(request: pytest.FixtureRequest, worker_of: Callable[[str], Worker]) -> Worker:
    """A worker of each framework in turn."""
    return worker_of(request.param)


@pytest.fixture(params=each_framework())
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn, in this process."""
    return FRAMEWORKS[request.param]
