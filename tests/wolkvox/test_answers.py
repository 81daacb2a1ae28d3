import json
from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.wolkvox.answers import MAX_ROWS, Reading, parse
from usage.wolkvox.catalogue import APIS
from usage.wolkvox.errors import (
    AnswerRefused,
    AnswerTooLarge,
    AnswerUnreadable,
    NoData,
    QuotaExceeded,
    ServerFailed,
    TokenRefused,
    VendorError,
)

API = APIS["interactions"]
ROW = {"operation": "Quito", "description": "Email", "items": "1234", "date": "2026-11-23"}


def answer(*rows: object, code: object = 200, **envelope: object) -> bytes:
    whole = {"code": code, "error": None, "msg": "Information found", "data": list(rows)} | envelope
    return json.dumps(whole).encode()


def row(**fields: object) -> dict[str, object]:
    return ROW | fields


def reading(**fields: object) -> Reading:
    (only,) = parse(answer(row(**fields)), API)
    return only


def error_of(body: bytes, api: str = "interactions") -> VendorError:
    with pytest.raises(VendorError) as caught:
        parse(body, APIS[api])
    return caught.value


# A good answer


def test_a_row_becomes_a_reading() -> None:
    assert parse(answer(ROW), API) == (
        Reading("Quito", "Email", Decimal("1234.0000"), False, "2026-11-23", date(2026, 11, 23), date(2026, 11, 1)),
    )


def test_rows_keep_their_order() -> None:
    names = ["X", "Email", "Facebook", "A"]
    assert [found.description for found in parse(answer(*(row(description=name) for name in names)), API)] == names


def test_several_days_of_one_product_are_several_readings() -> None:
    rows = (row(date=f"2026-11-{day:02d}", items=str(day)) for day in (1, 2, 3))
    assert [found.items for found in parse(answer(*rows), API)] == [1, 2, 3]


@pytest.mark.parametrize("code", [200, "200"])
def test_the_code_counts_as_text(code: object) -> None:
    assert len(parse(answer(ROW, code=code), API)) == 1


def test_fields_that_nobody_knows_are_accepted() -> None:
    assert reading(price={"amount": [1.5e300, None]}, TOTAL=-3) == reading()
    assert parse(answer(ROW, page=1, total=1e9), API) == parse(answer(ROW), API)


def test_a_byte_order_mark_is_tolerated() -> None:
    assert parse(b"\xef\xbb\xbf" + answer(ROW), API) == parse(answer(ROW), API)


def test_a_row_of_totals_is_a_row_like_any_other() -> None:
    assert reading(description="TOTAL").description == "TOTAL"


def test_the_most_rows_are_accepted_and_one_more_is_too_large() -> None:
    rows = [row(description=f"Product {number}") for number in range(MAX_ROWS + 1)]
    assert len(parse(answer(*rows[:-1]), API)) == MAX_ROWS
    assert type(error_of(answer(*rows))) is AnswerTooLarge


# Items


@pytest.mark.parametrize(
    ("items", "amount"),
    [
        ("0", "0"),
        ("0012", "12"),
        ("1234", "1234"),
        ("1234.5", "1234.5"),
        ("1,234", "1234"),
        ("1,234,567.25", "1234567.25"),
        ("12345678901", "12345678901"),
        ("0.00005", "0.0001"),
        ("0.00004", "0"),
        ("2.00015", "2.0002"),
        ("99999999999.99994", "99999999999.9999"),
        (1234, "1234"),
        (1234.5, "1234.5"),
        (0, "0"),
    ],
)
def test_plain_and_rightly_grouped_numbers_are_amounts(items: object, amount: str) -> None:
    found = reading(items=items)
    assert str(found.items) == str(Decimal(amount).quantize(Decimal("0.0001")))
    assert not found.is_duration


@pytest.mark.parametrize(
    ("items", "seconds"), [("02:02:47", 7367), ("0:00:00", 0), ("00:59:59", 3599), ("1234:00:01", 4442401)]
)
def test_a_duration_is_counted_in_seconds(items: str, seconds: int) -> None:
    found = reading(items=items)
    assert (int(found.items), found.is_duration) == (seconds, True)


NO_AMOUNTS = [
    *("", " ", "12 ", " 12", "12\n", "12\x00", "\u200b12", "１２", "٣", "²", "twelve"),
    *("+12", "-12", "-0", "1_000", "1e3", "1E400", "NaN", "Infinity", "inf", "0x10", "34.64 %", "12%", "$12"),
    *(".5", "5.", "1.2.3", "1.234,5", "1,234.5,6"),
    *("0,125", "00,125", "012,345", "0,000", "1,23", "1,2345", "12,34,567", "1234,567", ",123", "1,234,"),
    *("2:2:47", "02:60:00", "02:00:60", "02:02", "-1:00:00", "02:02:47.5", "1:02:02:47", "99999999:00:00"),
    *("100000000000", "99999999999.99995", "9" * 40, "9" * 5000, "0." + "1" * 5000),
    *(None, True, False, [], ["1"], {}, {"amount": 1}, -1, -0.0, 1e300, 10**11, 1e-7),
]


@pytest.mark.parametrize("items", NO_AMOUNTS, ids=repr)
def test_whatever_else_stands_as_items_refuses_the_answer(items: object) -> None:
    error = error_of(answer(ROW, row(description="Facebook", items=items)))
    assert type(error) is AnswerRefused
    assert error.message.startswith("Row 2 has ")


@pytest.mark.parametrize("kind", ["interactions", "interaction_licenses", "wp_connectors"])
def test_empty_items_are_refused_for_every_kind_of_api(kind: str) -> None:
    assert type(error_of(answer(row(items="")), kind)) is AnswerRefused


def test_a_gauge_cannot_be_a_duration() -> None:
    assert "02:02:47" in error_of(answer(row(items="02:02:47")), "interaction_licenses").message


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e400", "-0", "1E2", "12.", "01", "１"])
def test_a_bare_number_must_be_plain_as_well(written: str) -> None:
    body = answer(row(items="ITEMS")).replace(b'"ITEMS"', written.encode())
    assert isinstance(error_of(body), AnswerRefused | AnswerUnreadable)


@given(
    st.integers(0, 10**11 - 1),
    st.integers(0, 4).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)),
)
def test_a_number_means_the_same_plain_grouped_and_bare(whole: int, fraction: str) -> None:
    tail = f".{fraction}" if fraction else ""
    plain, grouped = f"{whole}{tail}", f"{whole:,}{tail}"
    bare = answer(row(items="ITEMS")).replace(b'"ITEMS"', plain.encode())
    readings = [reading(items=plain), reading(items=grouped), *parse(bare, API)]
    assert {found.items for found in readings} == {Decimal(plain)}


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_every_duration_is_its_seconds(hours: int, minutes: int, seconds: int) -> None:
    assert reading(items=f"{hours:02d}:{minutes:02d}:{seconds:02d}").items == hours * 3600 + minutes * 60 + seconds


@given(st.text("0123456789.,:+-_eE %\n٣１", max_size=12) | st.text(max_size=12))
def test_items_are_an_amount_within_bounds_or_refuse_the_answer(items: str) -> None:
    try:
        found = reading(items=items)
    except AnswerRefused:
        return
    assert items.isascii()
    assert items[0].isdigit()
    assert items[-1].isdigit()
    assert 0 <= found.items < 10**11
    assert found.items.as_tuple().exponent == -4
    assert found.is_duration == (":" in items)


# Names


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("  Email \t\r\n in ", "Email in"),
        ("Em\x00ail\x7f\x85", "Email"),
        ("\u202eEmail\u2069\u200b\ufeff", "Email"),
        ("Bogota\u0301", "Bogotá"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("=HYPERLINK(1)", "=HYPERLINK(1)"),
        ("日本 🙂", "日本 🙂"),
        ("x" * 200, "x" * 200),
    ],
)
def test_names_are_cleaned_of_what_cannot_be_seen(sent: str, kept: str) -> None:
    found = reading(operation=sent, description=sent)
    assert (found.operation, found.description) == (kept, kept)


@pytest.mark.parametrize("field", ["operation", "description"])
def test_an_over_long_name_is_refused(field: str) -> None:
    for length in (201, 5000):
        error = error_of(answer(row(**{field: "x" * length})))
        assert type(error) is AnswerRefused
        assert field in error.message
        assert len(error.message) < 200


@pytest.mark.parametrize("nothing", ["", "  ", "\u200b\x00"])
def test_an_empty_description_is_refused_but_an_empty_operation_is_not(nothing: str) -> None:
    assert error_of(answer(row(description=nothing))).message == "Row 1 has an empty description."
    assert reading(operation=nothing).operation == ""


@pytest.mark.parametrize("field", ["operation", "description", "items", "date"])
def test_half_a_character_is_refused(field: str) -> None:
    assert type(error_of(answer(row(**{field: "1\ud800"})))) is AnswerRefused


# Dates


@pytest.mark.parametrize(
    "written", ["2026-11-23", "2026-11-23 10:35:02", "2026-11-23T10:35:02", "20261123", " 2026-11-23 "]
)
def test_a_full_date_gives_day_and_month(written: str) -> None:
    found = reading(date=written)
    assert (found.date, found.day, found.month) == (written.strip(), date(2026, 11, 23), date(2026, 11, 1))


@pytest.mark.parametrize("written", ["2026-11", "11-2026"])
def test_a_month_and_year_give_the_month_only(written: str) -> None:
    found = reading(date=written)
    assert (found.date, found.day, found.month) == (written, None, date(2026, 11, 1))


@pytest.mark.parametrize(
    "written",
    ["", "2026-13-45", "2026-02-30", "2026-13", "13-2026", "0000-01-01", "20261323", "23/11/2026", "November",
     "2026-11-23Z", "２０２６-11-23", "2026-1-1", "202611"],
)  # fmt: skip
def test_a_date_that_cannot_be_read_is_kept_as_text(written: str) -> None:
    found = reading(date=written)
    assert (found.date, found.day, found.month) == (written, None, None)


def test_a_long_date_is_cut_to_forty_characters() -> None:
    assert reading(date="Mon Nov 23 2026 10:35:02 GMT-0500 (Colombia Standard Time)").date == (
        "Mon Nov 23 2026 10:35:02 GMT-0500 (Colom"
    )


def test_a_date_too_long_to_be_one_refuses_the_answer() -> None:
    assert "date over 4096 characters" in error_of(answer(row(date="2026-11-23" + " " * 5000))).message


# Rows that can't be accepted


@pytest.mark.parametrize("field", ROW)
def test_a_missing_field_refuses_the_answer(field: str) -> None:
    without = {name: value for name, value in ROW.items() if name != field}
    error = error_of(answer(ROW, without))
    assert type(error) is AnswerRefused
    assert error.message == f"Row 2 has no {field}."


@pytest.mark.parametrize("field", ["operation", "description", "date"])
@pytest.mark.parametrize("value", [None, 1, 20261123, True, [], {}])
def test_a_field_of_the_wrong_type_refuses_the_answer(field: str, value: object) -> None:
    error = error_of(answer(row(**{field: value})))
    assert type(error) is AnswerRefused
    assert field in error.message


@pytest.mark.parametrize("wrong", [None, 1, "row", [ROW], True])
def test_a_row_that_is_no_object_refuses_the_answer(wrong: object) -> None:
    assert error_of(answer(ROW, wrong)).message.startswith("Row 2 is ")


def test_one_bad_row_refuses_all_the_good_ones() -> None:
    good = [row(description=f"Product {number}") for number in range(100)]
    assert error_of(answer(*good, row(items="?"))).message == "Row 101 has “?” as items, which is no plain number."


def test_what_stood_in_a_bad_row_is_shown_cleaned_and_shortened() -> None:
    message = error_of(answer(row(items="\u202e<b>\n" + "x" * 1000))).message
    assert message.startswith("Row 1 has “<b> xxx")
    assert len(message) < 150


def test_identical_rows_count_once() -> None:
    assert len(parse(answer(ROW, ROW, row(items="1,234"), row(description=" Email")), API)) == 1


@pytest.mark.parametrize("difference", [{"items": "1235"}, {"operation": "Lima"}])
def test_rows_that_say_different_things_of_one_product_and_date_refuse_the_answer(
    difference: dict[str, object],
) -> None:
    error = error_of(answer(ROW, row(**difference)))
    assert error.message == "Row 2 says otherwise of “Email” than a row before it."


def test_a_product_is_counted_either_in_time_or_in_numbers() -> None:
    error = error_of(answer(ROW, row(items="00:20:34", date="2026-11-24")))
    assert error.message == "Row 2 mixes durations and numbers for “Email”."


# Bodies that are no answer


def with_data(data: str) -> bytes:
    return b'{"code": 200, "data": ' + data.encode() + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"<!doctype html><h1>Welcome</h1>",
        answer(ROW)[:-1],
        answer(ROW)[:60],
        answer(ROW) + b"}",
        answer(ROW) * 2,
        answer(row(description="Málaga")).decode("unicode-escape").encode("latin-1"),
        answer(ROW).decode().encode("utf-16"),
        b"[]",
        b"null",
        b"200",
        b'"code"',
        b'{"data": []}',
        b'{"code": null, "data": []}',
        b'{"code": true, "data": []}',
        b'{"code": [200], "data": []}',
        b'{"code": 200.0, "data": []}',
        b'{"code": "2OO", "data": []}',
        b'{"code": "", "data": []}',
        b'{"code": 200}',
        with_data("null"),
        with_data("{}"),
        with_data('"[]"'),
        with_data("0"),
        with_data("[NaN]"),
        with_data("[-Infinity]"),
        with_data("[" * 50_000),
        with_data("[" * 5000 + "]" * 5000),
        with_data('[], "data": []'),
        with_data('[{"description": "a", "description": "b"}]'),
        with_data('[], "extra": {"deep": [{"k": 1, "k": 1}]}'),
        with_data('["\x01"]'),
        with_data("[01]"),
        with_data("[1,]"),
    ],
    ids=lambda body: repr(body[:50]),
)
def test_a_body_of_another_shape_is_unreadable(body: bytes) -> None:
    error = error_of(body)
    assert type(error) is AnswerUnreadable
    assert error.http_status == 200


def test_an_answer_without_rows_is_no_data_and_never_zero() -> None:
    assert type(error_of(answer())) is NoData


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (403, "TOKEN LIMIT EXCEEDED", QuotaExceeded),
        ("403", "please validate token", TokenRefused),
        (401, "", TokenRefused),
        ("404", "", NoData),
        (500, "", ServerFailed),
        (302, "", AnswerUnreadable),
        (204, "", AnswerUnreadable),
    ],
)
def test_a_code_in_the_body_is_an_error_even_with_good_rows(
    code: object, message: str, kind: type[VendorError]
) -> None:
    error = error_of(answer(ROW, code=code, error="FORBIDDEN", msg=message))
    assert type(error) is kind
    assert (error.http_status, error.code) == (200, str(code))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{}" * 2**24, id="32 MB of {}"),
        pytest.param(b"[" * 2**25, id="32 MB of ["),
        pytest.param(b"[" + b"0," * 2**24, id="32 MB of numbers"),
        pytest.param(with_data('[{"x": [' + "{}," * (MAX_ROWS + 200) + "{}]}]"), id="too many objects"),
    ],
)
def test_a_body_that_would_fill_the_memory_is_refused_unparsed(body: bytes) -> None:
    error = error_of(body)
    assert type(error) is AnswerTooLarge
    assert error.excerpt


def test_an_error_quotes_the_answer_and_hides_the_parsers_own() -> None:
    error = error_of(b"<h1>Welcome</h1>")
    assert error.excerpt == "<h1>Welcome</h1>"
    assert error.__cause__ is None


FIELDS = st.sampled_from(["code", "data", "operation", "description", "items", "date"])
SCALARS = st.none() | st.booleans() | st.floats() | st.text()
ANY_JSON = st.recursive(SCALARS, lambda part: st.lists(part) | st.dictionaries(FIELDS, part))


@given(ANY_JSON)
def test_any_json_is_read_or_refused_with_a_class(whole: object) -> None:
    for body in (json.dumps(whole).encode(), json.dumps({"code": 200, "data": whole}).encode()):
        with suppress(VendorError):
            assert parse(body, API)
