"""A year of an operation: its months side by side, from the monthly rows alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from usage.models import Correction, MonthlyUsage, Operation, Product

from .figures import in_order_of, running_gap, seconds_of
from .queries import counted, feeds_of, usages_of, with_corrections

State = MonthlyUsage.State


@dataclass(frozen=True)
class Month:
    """A month of the year, of each product in the year's order; None where nothing is known."""

    month: date
    usages: Sequence[MonthlyUsage | None]
    corrected: Sequence[Product]
    """Those of which the vendor said something else after the closing."""
    unheard: int
    """Seconds without a good poll, of the product that it concerns most."""

    @property
    def known(self) -> list[MonthlyUsage]:
        return [usage for usage in self.usages if usage]

    @property
    def states(self) -> list[State]:
        """Each API's month is closed on its own."""
        states = {usage.state for usage in self.known}
        return [state for state in State if state in states]

    @property
    def seconds_unheard(self) -> int | None:
        """From the last good poll to the month's end, likewise the most; None until one of the products is closed."""
        certificates = [getattr(usage, "certificate", None) for usage in self.known]
        return max((certificate.seconds_unheard for certificate in certificates if certificate), default=None)


@dataclass(frozen=True)
class Year:
    """The months from the first with figures on that have begun."""

    operation: Operation
    number: int
    products: Sequence[Product]
    months: Sequence[Month]
    previous: int | None
    next: int | None

    @property
    def totals(self) -> list[tuple[Product, Decimal | None]]:
        """Of usage, what the months come to as far as they are known; a gauge has no sum."""
        columns = zip(*(month.usages for month in self.months), strict=True)
        return [
            (product, sum_of(usages) if product.is_usage else None)
            for product, usages in zip(self.products, columns, strict=True)
        ]

    @property
    def has_open(self) -> bool:
        return any(not usage.is_closed for month in self.months for usage in month.known)

    @property
    def has_unknown(self) -> bool:
        return any(len(month.known) < len(self.products) for month in self.months)


def sum_of(usages: Iterable[MonthlyUsage | None]) -> Decimal:
    """Without a month that closed as a gauge's."""
    return sum((usage.items for usage in usages if usage and usage.its_product.is_usage), Decimal(0))


def months_of(year: int) -> list[date]:
    return [date(year, number, 1) for number in range(1, 13)]


def is_corrected(usage: MonthlyUsage, corrections: Mapping[int, Sequence[Correction]]) -> bool:
    """Whether later news differs from what its month closed with, and wasn't taken back."""
    its = corrections.get(usage.pk, ())
    return bool(its) and its[-1].items != usage.items


def operation_year(operation: Operation, number: int, known: Sequence[date], now: datetime) -> Year:
    """One operation's year, `known` being its months with figures: two queries."""
    itself, today = Operation.objects.filter(pk=operation.pk), now.astimezone(operation.zone).date()
    last = max(today, *known) if known else today
    months = [month for month in months_of(number) if min(known, default=last) <= month <= last]
    rows = usages_of(months, itself).filter(counted())
    usages, corrections = with_corrections(rows.defer("items_by_day", "to_date_by_day", "reckoned_days", "gaps"))
    by_id = {usage.product_id: usage.its_product for usage in sorted(usages, key=lambda its: its.month)}
    products = sorted(by_id.values(), key=lambda its: (not its.is_usage, *in_order_of(its)))
    found = {(usage.month, usage.product_id): usage for usage in usages}
    of_api = {feed.api: feed for feed in feeds_of(itself)}
    unheard: defaultdict[date, int] = defaultdict(int)
    for its in usages:
        running = running_gap(its, of_api.get(its.product.api), operation, now)
        unheard[its.month] = max(unheard[its.month], its.gap_seconds + seconds_of(running))
    return Year(
        operation=operation,
        number=number,
        products=products,
        months=[
            Month(
                month=month,
                usages=[found.get((month, product.pk)) for product in products],
                corrected=[
                    product
                    for product in products
                    if (usage := found.get((month, product.pk))) and is_corrected(usage, corrections)
                ],
                unheard=unheard[month],
            )
            for month in months
        ],
        previous=max((month.year for month in known if month.year < number), default=None),
        next=min((month.year for month in known if month.year > number), default=None),
    )
