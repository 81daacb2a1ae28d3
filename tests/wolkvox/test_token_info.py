import json
from datetime import UTC, datetime

import pytest

from tests.wolkvox.conftest import VendorFactory
from usage.wolkvox.client import BillingClient
from usage.wolkvox.errors import AnswerRefused, AnswerUnreadable, QuotaExceeded, RequestRefused, TokenRefused
from usage.wolkvox.simulator import Simulator, provoking, serve, token_of
from usage.wolkvox.token_info import TokenInfo, parse

NOON = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
SMALL = token_of("San José · Recepción")
ROW = {"description": "billing", "token_limit": "8000", "token_use_today": "12", "all_token_today": "30"}


def body(data: object, code: int = 200) -> bytes:
    return json.dumps({"code": code, "error": None, "msg": "1 records were found", "data": data}).encode()


@pytest.mark.parametrize(
    "data", [[ROW], ROW, {"token_limit": 8000, "token_use_today": 30, "all_token_today": 0, "hours": 15}]
)
def test_one_object_is_read_alone_or_in_a_list_and_the_larger_use_counts(data: object) -> None:
    assert parse(body(data)) == TokenInfo(limit=8000, used=30)


@pytest.mark.parametrize("wrong", ["", "-1", "1.5", "1,000", "٣٠", "1" * 10, "unlimited", None, True, 1e400, [], "0"])
def test_a_limit_that_is_no_plain_number_refuses_the_answer(wrong: object) -> None:
    raw = body([ROW | {"token_limit": wrong}])
    with pytest.raises(AnswerUnreadable if wrong == 1e400 else AnswerRefused):
        parse(raw)


@pytest.mark.parametrize("name", ["token_limit", "token_use_today", "all_token_today"])
def test_a_missing_count_refuses_the_answer(name: str) -> None:
    with pytest.raises(AnswerRefused, match=name):
        parse(body([{field: value for field, value in ROW.items() if field != name}]))


@pytest.mark.parametrize("data", [None, [], [ROW, ROW], "8000", [8000]])
def test_anything_but_one_object_refuses_the_answer(data: object) -> None:
    with pytest.raises(AnswerRefused):
        parse(body(data))


def test_an_error_in_the_body_is_that_error() -> None:
    with pytest.raises(RequestRefused):
        parse(body([], code=400))


def test_the_limit_is_asked_of_the_information_api_in_a_call_like_any_other(vendor: VendorFactory) -> None:
    server = vendor()
    BillingClient(server.url).fetch_token_info(server="0012", token=SMALL)
    line, *headers = server.requests[0].decode().splitlines()
    assert line == "GET /api/v2/information.php?api=token_info HTTP/1.1"
    assert {f"wolkvox-token: {SMALL}", "wolkvox_server: 0012"} <= set(headers)


def test_the_simulator_tells_the_limit_that_it_keeps_and_the_calls_that_it_counted() -> None:
    simulator = Simulator(clock=lambda: NOON, calls_per_licence=1)
    simulator.elsewhere[SMALL] = 5
    with serve(simulator) as server:
        client = BillingClient(server.url)
        client.fetch("interactions", server="0012", token=SMALL)
        told = parse(client.fetch_token_info(server="0012", token=SMALL).body)
        assert told == TokenInfo(limit=simulator.quota(SMALL, NOON.date()), used=7)
        for _ in range(told.limit - told.used):
            client.fetch("interactions", server="0012", token=SMALL)
        with pytest.raises(QuotaExceeded):
            client.fetch_token_info(server="0012", token=SMALL)


def test_the_simulator_provokes_errors_here_too_and_knows_no_other_information() -> None:
    with serve(Simulator()) as server:
        client = BillingClient(server.url)
        with pytest.raises(TokenRefused):
            client.fetch_token_info(server="0012", token=provoking("token_refused"))
        with pytest.raises(RequestRefused, match="DOES NOT EXIST"):
            client.fetch("token_info", server="0012", token=SMALL)
