"""Rows of the tables that a poll reads and writes, held plainly: an answer may have 60,000.

A field is a column of the model, under its name; a row is read and stored by `storing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

from django.db.models import Model

from usage.models import DailyUsage, MonthlyUsage, Product, Snapshot

OF_FEED = "operation_id = %s AND product_id IN (SELECT id FROM usage_product WHERE api = %s)"
"""Of which daily and monthly rows a feed tells."""


@dataclass(slots=True)
class ProductRow:
    """`id` is 0 until it is stored."""

    model: ClassVar[type[Model]] = Product
    id: int
    api: str
    description: str
    name: str
    unit: str
    kind: str
    is_duration: bool
    is_counted: bool
    licensed_by_id: int | None = None

    @property
    def is_usage(self) -> bool:
        return self.kind == Product.Kind.USAGE


@dataclass(slots=True)
class Figure:
    """A reading in its place: whose, of which day, and whether it counts that day alone or the month so far."""

    product: ProductRow
    month: date
    day: date
    items: Decimal
    counts_day: bool
    vendor_date: str


@dataclass(slots=True)
class ShownRow:
    """Of a snapshot, what tells whether a figure is the one that was shown before."""

    model: ClassVar[type[Model]] = Snapshot
    id: int
    product_id: int
    month: date
    day: date
    items: Decimal
    counts_day: bool


@dataclass(slots=True)
class SnapshotRow:
    model: ClassVar[type[Model]] = Snapshot
    feed_id: int
    product_id: int
    month: date
    day: date
    counts_day: bool
    items: Decimal
    vendor_date: str
    first_seen: datetime
    last_seen: datetime
    first_poll_id: int
    ends_silence: bool


@dataclass(slots=True)
class DailyRow:
    model: ClassVar[type[Model]] = DailyUsage
    operation_id: int
    product_id: int
    day: date
    as_of: datetime
    items: Decimal | None = None
    month_to_date: Decimal | None = None
    highest: Decimal | None = None
    lowest: Decimal | None = None
    is_restated: bool = False
    is_reckoned: bool = False


@dataclass(slots=True)
class MonthlyRow:
    model: ClassVar[type[Model]] = MonthlyUsage
    operation_id: int
    product_id: int
    month: date
    as_of: datetime
    items: Decimal = Decimal(0)
    highest: Decimal | None = None
    lowest: Decimal | None = None
    items_by_day: list[str | None] = field(default_factory=list)
    to_date_by_day: list[str | None] = field(default_factory=list)
    reckoned_days: list[int] = field(default_factory=list)
    state: str = MonthlyUsage.State.OPEN.value
    gaps: list[list[int]] = field(default_factory=list)
    gap_seconds: int = 0
    is_restated: bool = False
    closed_at: datetime | None = None
    closed_name: str = ""
    closed_kind: str = ""
    closed_unit: str = ""
    closed_licensed_by_id: int | None = None
    closed_is_counted: bool = True
    closed_zone: str = ""

    @property
    def is_closed(self) -> bool:
        return self.closed_at is not None
