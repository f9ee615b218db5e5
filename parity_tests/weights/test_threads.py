"""Work in several threads gives the same results as in one, and background work ends when it is not needed."""

import hashlib
import time
from threading import get_ident

import pytest

from se_weights import file_sha256
from se_weights.threads import ONE_THREAD, background_queue, in_background, map_in_threads, thread_count


@pytest.fixture(params=["threads", "one thread"])
def threads(request):
    token = ONE_THREAD.set(request.param == "one thread")
    yield request.param
    ONE_THREAD.reset(token)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_results_come_in_the_order_of_the_items(threads, count):
    assert map_in_threads(lambda number: number**2, range(count)) == [number**2 for number in range(count)]


def test_an_error_of_any_item_is_raised(threads):
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda number: 1 // (number - 40), range(41))


@pytest.mark.skipif(thread_count() == 1, reason="there is one processor")
def test_several_threads_are_used_unless_one_is_requested(threads):
    seen = set(map_in_threads(lambda number: (time.sleep(0.01), get_ident())[1], range(4)))
    assert seen == {get_ident()} if threads == "one thread" else get_ident() not in seen


def test_the_background_queue_keeps_the_order(threads):
    done: list[int] = []
    with background_queue(lambda number: done.append(number) or number) as handed:
        results = [handed(number) for number in range(50)]
        assert [result() for result in results] == list(range(50))
    assert done == list(range(50))


def test_background_work_is_cancelled_when_the_body_fails():
    def endless(running):
        while running():
            time.sleep(0.001)

    with pytest.raises(RuntimeError, match="failed"), in_background(endless):
        raise RuntimeError("failed")


def test_hashing_stops_when_it_is_cancelled(tmp_path):
    (tmp_path / "file").write_bytes(bytes(3 * 2**20 + 5))
    whole = hashlib.sha256(bytes(3 * 2**20 + 5)).hexdigest()
    assert file_sha256(tmp_path / "file") == whole
    answers = iter([True, False])
    assert file_sha256(tmp_path / "file", lambda: next(answers)) == hashlib.sha256(bytes(2**20)).hexdigest()
