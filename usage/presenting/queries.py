"""What several pages read. Every query goes through a queryset of operations that its reader may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast

from usage.models import Correction, Feed, MonthlyUsage, Operation, OperationQuerySet, Product

from . import feeds


def months_of(operations: OperationQuerySet, product: Product | None = None) -> list[date]:
    """The months with figures. From one to the next by the index: a DISTINCT would read every row."""
    rows = MonthlyUsage.objects.filter(operation__in=operations).order_by("month")
    if product:
        rows = rows.filter(counted(), product=product)
    later = rows.filter(month__gt=RawSQL("known.month", ()))
    try:
        first, following = (months.values("month")[:1].query.sql_with_params() for months in (rows, later))
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(MONTHS.format(first=first[0], following=following[0]), [*first[1], *following[1]])
        return [date.fromisoformat(str(month)) for (month,) in cursor.fetchall()]


MONTHS = """
    WITH RECURSIVE known(month) AS (
        SELECT ({first}) UNION ALL SELECT ({following}) FROM known WHERE known.month IS NOT NULL
    )
    SELECT month FROM known WHERE month IS NOT NULL
"""


def operation_with_months(operations: OperationQuerySet, slug: str) -> tuple[Operation, list[date]] | None:
    """One operation and the months that it has figures of, in one query."""
    rows = operations.filter(slug=slug).defer("token_encrypted").annotate(known=F("months__month"))
    found = list(rows.order_by("known").distinct())
    return (found[0], [row.known for row in found if row.known]) if found else None  # type: ignore[attr-defined]


def counted(prefix: str = "") -> Q:
    """The monthly rows of counted products: of a closed month, those that were counted at its closing."""
    then = {f"{prefix}closed_name__gt": "", f"{prefix}closed_is_counted": True}
    now = {f"{prefix}closed_name": "", f"{prefix}product__is_counted": True}
    return Q(**then) | Q(**now)


def with_licences(usages: QuerySet[MonthlyUsage], product: int) -> QuerySet[MonthlyUsage]:
    """The rows of a product, and of the licences that it is, or was at a closing, held against."""
    now = Product.objects.filter(pk=product, licensed_by__isnull=False).values("licensed_by")
    then = usages.filter(product=product, closed_licensed_by__isnull=False).values("closed_licensed_by")
    return usages.filter(Q(product=product) | Q(product__in=now) | Q(product__in=then))


def usages_of(months: Iterable[date], operations: OperationQuerySet) -> QuerySet[MonthlyUsage]:
    return MonthlyUsage.objects.filter(operation__in=operations, month__in=months).order_by()


def feeds_of(operations: OperationQuerySet) -> list[Feed]:
    """Those that are polled or were, with what their state is told from."""
    heard = Q(is_enabled=True) | Q(last_good_poll_at__isnull=False)
    found = Feed.objects.filter(heard, operation__in=operations).order_by("operation_id", "interval", "id")
    return list(found.only("operation", "api", "interval", "counts", *feeds.STATED))


def with_corrections(usages: QuerySet[MonthlyUsage]) -> tuple[list[MonthlyUsage], dict[int, list[Correction]]]:
    """The rows with their products and certificates, and the corrections by the row's id, in one query.

    The join repeats a row that has several corrections: they are few, and a prefetch would be a query on every page.
    """
    joined = usages.select_related("product", "certificate").annotate(
        corrected_items=F("corrections__items"), corrected_at=F("corrections__seen_at")
    )
    found, corrections = {}, defaultdict(list)
    for usage in joined.order_by("corrections__seen_at", "corrections__id"):
        found[usage.pk] = usage
        if usage.corrected_at:
            corrections[usage.pk].append(Correction(items=usage.corrected_items, seen_at=usage.corrected_at))
    return list(found.values()), corrections


def products_with_figures(
    operations: OperationQuerySet, month: date | None = None, picked: Collection[int] = ()
) -> QuerySet[Product]:
    """The products of a month, or of any; those picked by their ids, whose month it needn't be, among them."""
    rows = MonthlyUsage.objects.filter(operation__in=operations)
    if month:
        rows = rows.filter(Q(month=month) | Q(product__in=picked))
    return Product.objects.filter(pk__in=rows.filter(counted()).values("product"))


# Many rows share a few times, which take longer to read than all else: they come as text, each to be read once.


def as_text(column: str) -> Cast:
    return Cast(column, TextField())


def time_of(text: str) -> datetime:
    """A time that came as text: SQLite, which keeps it in UTC, doesn't say so."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
