import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from wsgiref.util import setup_testing_defaults
from zoneinfo import ZoneInfo

import pytest

from usage.wolkvox.answers import Reading, parse
from usage.wolkvox.catalogue import APIS, Kind
from usage.wolkvox.client import BillingClient
from usage.wolkvox.errors import (
    AnswerRefused,
    AnswerUnreadable,
    NoData,
    QuotaExceeded,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TimedOut,
    TokenRefused,
    TooManyAtOnce,
    UnderMaintenance,
    VendorError,
)
from usage.wolkvox.simulator import OPERATIONS, RESERVED, Simulator, provoking, serve, token_of

BOGOTA = ZoneInfo("America/Bogota")
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=BOGOTA)
TOKEN = token_of("Bogotá Norte · Ventas")
SMALL = token_of("San José · Recepción")


def readings(at: datetime, api: str = "interactions", token: str = TOKEN) -> tuple[Reading, ...]:
    return parse(Simulator().answer(token, api, at), APIS[api])


def total(at: datetime, api: str = "interactions", token: str = TOKEN) -> Decimal:
    return sum((reading.items for reading in readings(at, api, token)), Decimal())


@contextmanager
def served(**options: Any) -> Iterator[tuple[Simulator, BillingClient]]:
    simulator = Simulator(**({"clock": lambda: NOON} | options))
    with serve(simulator) as server:
        yield simulator, BillingClient(server.url, deadline=10)


def called(simulator: Simulator, token: str = TOKEN, query: str = "api=interactions") -> tuple[int, str]:
    """The status and message of a call without a socket."""
    environ: dict[str, Any] = {"PATH_INFO": "/api/v2/billing.php", "QUERY_STRING": query}
    setup_testing_defaults(environ)
    if token:
        environ["HTTP_WOLKVOX_TOKEN"] = token
    statuses: list[str] = []
    body = b"".join(simulator(environ, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type]
    return int(statuses[0][:3]), json.loads(body)["msg"]


# The client and the parser against the served simulator


def test_the_client_and_the_parser_read_what_the_simulator_serves() -> None:
    with served() as (simulator, client):
        reply = client.fetch("interactions", server="0012", token=TOKEN)
    found = parse(reply.body, APIS["interactions"])
    assert reply.vendor_clock == NOON
    assert reply.body == simulator.answer(TOKEN, "interactions", NOON)
    assert [reading.description for reading in found] == ["Email", "Facebook Messenger", "X (Twitter)"]
    assert {reading.operation for reading in found} == {"Bogotá Norte · Ventas"}
    assert {reading.day for reading in found} == {NOON.date()}
    assert simulator.calls == {TOKEN: 1}


@pytest.mark.parametrize("api", APIS)
def test_each_api_is_answered_in_its_own_kind(api: str) -> None:
    found = readings(NOON, api)
    assert all(reading.items > 0 for reading in found)
    assert all(reading.is_duration == (APIS[api].unit == "seconds") for reading in found)
    if APIS[api].kind is not Kind.USAGE:
        assert [reading.description for reading in found] == [APIS[api].title]


@pytest.mark.parametrize(
    ("provoked", "kind"),
    [
        ("token_refused", TokenRefused),
        ("quota", QuotaExceeded),
        ("concurrency", TooManyAtOnce),
        ("maintenance", UnderMaintenance),
        ("unauthorised", TokenRefused),
        ("unknown_api", RequestRefused),
        ("missing_parameters", RequestRefused),
        ("no_data", NoData),
        ("rate_limited", RateLimited),
        ("server_error", ServerFailed),
        ("unavailable", ServerFailed),
        ("error_in_body", QuotaExceeded),
        ("html", AnswerUnreadable),
        ("truncated", AnswerUnreadable),
        ("bad_row", AnswerRefused),
    ],
)
def test_each_reserved_token_provokes_its_error(provoked: str, kind: type[VendorError]) -> None:
    with served() as (_, client):
        assert _outcome(client, provoking(provoked)) == kind.outcome


def test_the_slow_token_drips_until_the_deadline() -> None:
    with serve(Simulator()) as server, pytest.raises(TimedOut):
        BillingClient(server.url, deadline=0.7).fetch("interactions", server="0012", token=provoking("slow"))


def test_an_unknown_api_is_refused_to_the_client() -> None:
    with served() as (_, client), pytest.raises(RequestRefused, match="DOES NOT EXIST"):
        client.fetch("weather", server="0012", token=TOKEN)


@pytest.mark.parametrize(
    ("token", "query", "status", "message"),
    [
        ("", "api=interactions", 401, "PLEASE ENTER THE WOLKVOX-TOKEN"),
        ("abc", "api=interactions", 403, "PLEASE VALIDATE TOKEN"),
        ("g" * 52, "api=interactions", 403, "PLEASE VALIDATE TOKEN"),
        ("a" * 53, "api=interactions", 403, "PLEASE VALIDATE TOKEN"),
        (TOKEN, "", 400, "SOME PARAMETERS ARE REQUIRED"),
        (TOKEN, "api=", 400, "SOME PARAMETERS ARE REQUIRED"),
        (TOKEN, "api=weather", 400, "THE API YOU WANT TO CONSULT DOES NOT EXIST"),
    ],
)
def test_a_wrong_call_is_refused_in_the_documented_words(token: str, query: str, status: int, message: str) -> None:
    assert called(Simulator(), token, query) == (status, message)


# Operations


def test_twelve_demo_operations_differ_in_size_by_an_order_of_magnitude() -> None:
    sizes = [operation.agents for operation in OPERATIONS.values()]
    assert len(sizes) == 12
    assert max(sizes) >= 10 * min(sizes)
    assert all(re.fullmatch(r"[0-9]{4}", operation.server) for operation in OPERATIONS.values())


def test_tokens_are_52_hex_digits_and_no_two_are_alike() -> None:
    tokens = [*OPERATIONS, *RESERVED]
    assert all(re.fullmatch(r"[0-9a-f]{52}", token) for token in tokens)
    assert len(set(tokens)) == len(tokens)


def test_any_other_token_is_an_operation_of_its_own() -> None:
    (one, *_), (other, *_) = readings(NOON, token="a" * 52), readings(NOON, token="b" * 52)
    assert one.operation
    assert (one.operation, one.items) != (other.operation, other.items)


def test_a_small_operation_lacks_a_product() -> None:
    assert [reading.description for reading in readings(NOON, token=SMALL)] == ["Email", "Facebook Messenger"]


# Usage through the month


def every(step: timedelta, start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += step


@pytest.mark.parametrize("token", [TOKEN, SMALL, "c" * 52])
def test_usage_never_falls_within_a_month_and_starts_anew_at_its_local_end(token: str) -> None:
    first, end = datetime(2026, 11, 1, tzinfo=BOGOTA), datetime(2026, 12, 1, tzinfo=BOGOTA)
    amounts = [total(at, token=token) for at in every(timedelta(minutes=37), first, end)]
    assert all(earlier <= later for earlier, later in pairwise(amounts))
    assert amounts[0] == 0
    assert amounts[-1] > 1000
    assert total(end - timedelta(seconds=1), token=token) >= amounts[-1]
    assert total(end, token=token) == 0


def test_the_month_ends_in_the_simulators_own_zone() -> None:
    midnight_in_utc = datetime(2026, 12, 1, tzinfo=UTC)
    body = Simulator(zone="UTC").answer(TOKEN, "interactions", midnight_in_utc)
    assert [reading.items for reading in parse(body, APIS["interactions"])] == [0, 0, 0]
    assert total(midnight_in_utc) > 0
    assert {reading.date for reading in readings(midnight_in_utc)} == {"2026-11-30"}


def test_the_same_token_and_time_give_the_same_answer() -> None:
    assert readings(NOON) == readings(NOON.astimezone(UTC))
    assert [reading.items for reading in readings(NOON)] == [72583, 50162, 15255]


def used_on(day: int) -> Decimal:
    start = datetime(2026, 10, day, tzinfo=BOGOTA)
    return total(start + timedelta(days=1, seconds=-1)) - total(start)


def test_saturdays_are_quiet_and_sundays_quieter() -> None:
    friday, saturday, sunday = used_on(16), used_on(17), used_on(18)
    assert friday > 2 * saturday > 2 * sunday > 0


def test_a_holiday_is_quiet() -> None:
    christmas = datetime(2026, 12, 25, tzinfo=BOGOTA)
    assert total(christmas + timedelta(hours=23)) - total(christmas) < used_on(16) / 3


def test_most_of_a_day_comes_at_its_peaks_and_hardly_any_at_night() -> None:
    def used(hour: int, until: int) -> Decimal:
        return total(NOON.replace(hour=until)) - total(NOON.replace(hour=hour))

    assert used(10, 12) > used(12, 14)
    assert used(15, 17) > used(17, 19)
    assert used(0, 5) * 50 < used(10, 12)


def test_licences_change_in_the_middle_of_some_months() -> None:
    days = [datetime(2026, 1, 1, 12, tzinfo=BOGOTA) + timedelta(days=number) for number in range(365)]
    counts = {day: total(day, "interaction_licenses") for day in days}
    changed = [later.day for earlier, later in pairwise(days) if counts[earlier] != counts[later]]
    assert 0 < len(changed) < 12
    assert any(5 < day < 23 for day in changed)


# Limits


def test_the_days_calls_are_a_thousand_for_each_licence_and_come_back_at_midnight() -> None:
    now = [NOON]
    simulator = Simulator(clock=lambda: now[0])
    quota = int(total(NOON, "interaction_licenses", SMALL)) * 1000
    assert {called(simulator, SMALL)[0] for _ in range(quota)} == {200}
    assert called(simulator, SMALL) == (403, "TOKEN LIMIT EXCEEDED")
    assert called(simulator, TOKEN)[0] == 200
    now[0] = NOON + timedelta(hours=12)
    assert called(simulator, SMALL)[0] == 200


def test_a_third_call_at_once_of_one_token_is_refused() -> None:
    with served(latency=0.3) as (simulator, client), ThreadPoolExecutor(4) as pool:
        outcomes = [pool.submit(_outcome, client, token) for token in (TOKEN, TOKEN, TOKEN, SMALL)]
        assert sorted(outcome.result() for outcome in outcomes) == ["ok", "ok", "ok", "too_many_at_once"]
    assert simulator.most_at_once == {TOKEN: 3, SMALL: 1}
    assert simulator.calls == {TOKEN: 3, SMALL: 1}


def test_calls_one_after_another_are_never_at_once() -> None:
    with served() as (simulator, client):
        assert [_outcome(client, TOKEN) for _ in range(5)] == ["ok"] * 5
    assert simulator.most_at_once[TOKEN] == 1


def _outcome(client: BillingClient, token: str) -> str:
    """How a call and the reading of its answer end."""
    try:
        parse(client.fetch("interactions", server="0012", token=token).body, APIS["interactions"])
    except VendorError as error:
        return error.outcome
    return "ok"
