"""Large answers are in hand one at a time; small ones wait for nobody."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.wolkvox.conftest import GOOD, Script, VendorFactory, response, start
from usage.wolkvox.client import BillingClient, Reply
from usage.wolkvox.errors import TimedOut
from usage.wolkvox.hand import SMALL_BYTES, UNREAD_BYTES, Hand

LARGE = response(GOOD + b" " * SMALL_BYTES)
LARGER = response(GOOD + b" " * 2 * UNREAD_BYTES)
SHORTLY = 0.5


def fetch(url: str, hand: Hand | None = None, *, deadline: float = 20.0) -> Reply:
    return BillingClient(url, deadline=deadline).fetch("interactions", server="0012", token="7b22" * 13, hand=hand)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def is_waiting(call: "Future[Reply]") -> bool:
    time.sleep(SHORTLY)
    return not call.done()


def test_a_small_answer_passes_while_a_large_one_is_in_hand(vendor: VendorFactory) -> None:
    large, small = vendor(LARGE), vendor(response(GOOD.ljust(SMALL_BYTES)))
    with Hand() as hand:
        fetch(large.url, hand)
        assert len(fetch(small.url, deadline=5).body) == SMALL_BYTES


@pytest.mark.parametrize("body", [LARGE, LARGER], ids=["large", "larger"])
def test_a_large_answer_waits_until_nothing_is_left_of_the_one_in_hand(
    vendor: VendorFactory, thread: ThreadPoolExecutor, body: bytes
) -> None:
    server = vendor(body)
    with Hand() as hand:
        fetch(server.url, hand)
        other = thread.submit(fetch, server.url)
        assert is_waiting(other)
    assert other.result(10).body.startswith(GOOD)


@pytest.mark.parametrize("body", [LARGE, LARGER], ids=["large", "larger"])
def test_it_waits_no_longer_than_its_call_may_last(vendor: VendorFactory, body: bytes) -> None:
    server = vendor(body)
    with Hand() as hand:
        fetch(server.url, hand)
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            fetch(server.url, deadline=1)
        assert 0.9 < time.monotonic() - began < 5
    assert caught.value.is_under_way
    assert caught.value.message == "Other large answers were in hand until the time was up."
    assert fetch(server.url).body.startswith(GOOD)


def test_whatever_goes_wrong_nothing_stays_in_hand(vendor: VendorFactory) -> None:
    def broken_off() -> Script:
        yield start("Content-Length: 9000000") + b" " * 2 * UNREAD_BYTES

    for _ in range(2):
        with suppress(ZeroDivisionError), Hand() as hand:
            fetch(vendor(LARGE).url, hand, deadline=5)
            1 / 0  # noqa: B018
        with pytest.raises(Exception, match="broke off"):
            fetch(vendor(broken_off).url, deadline=5)


def test_without_a_hand_an_answer_is_let_go_of_with_the_call(vendor: VendorFactory) -> None:
    server = vendor(LARGER)
    assert [len(fetch(server.url, deadline=5).body) for _ in range(2)] == [len(GOOD) + 2 * UNREAD_BYTES] * 2


def test_a_vendor_that_sends_slowly_holds_up_nobody(vendor: VendorFactory, thread: ThreadPoolExecutor) -> None:
    def slow() -> Script:
        yield start() + GOOD + b" " * (UNREAD_BYTES - len(GOOD))
        yield 2 * SHORTLY

    call = thread.submit(fetch, vendor(slow).url)
    assert is_waiting(call)
    assert fetch(vendor(LARGER).url).body.startswith(GOOD)
    assert not call.done()
    assert call.result(10).body.startswith(GOOD)
