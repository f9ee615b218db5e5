from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from parity_tests.support.cases import each_framework
from parity_tests.support.frameworks import FRAMEWORKS, Framework
from se_parity import Worker

if find_spec("torch"):
    import torch  # noqa: F401  before TensorFlow, whose import may crash otherwise (keras, conftest.py)


@pytest.fixture(scope="session", params=each_framework())
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker of each framework in turn, started once a session."""
    with Worker(request.param) as worker:
        yield worker


@pytest.fixture(params=each_framework())
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn, in this process."""
    return FRAMEWORKS[request.param]
