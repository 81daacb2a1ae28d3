"""Polls and answers that nothing stands on any more."""

from datetime import UTC, datetime, time, timedelta

from django.db.models import Min

from usage.models import Answer, MonthlyUsage, Poll

from . import months

BATCH = 1_000


def prune(now: datetime, *, keep_days: int) -> int:
    """Delete polls older than `keep_days` on which nothing stands, then answers without a poll. How many polls went.

    Those of the oldest month that isn't closed stay, and all since: its certificate will name the last of them. In
    batches, so that the database is never held for long.
    """
    before = now - timedelta(days=keep_days)
    if unclosed := MonthlyUsage.objects.exclude(state=MonthlyUsage.State.CLOSED).aggregate(at=Min("month"))["at"]:
        before = min(before, datetime.combine(unclosed, time.min, tzinfo=UTC) - months.BOUNDARY)
    old = Poll.objects.filter(
        started_at__lt=before,
        snapshots=None,
        certificates=None,
        corrections=None,
        is_held=False,
    ).order_by("pk")
    pruned = 0
    while batch := list(old.values_list("pk", flat=True)[:BATCH]):
        pruned += Poll.objects.filter(pk__in=batch).delete()[0]
    while batch := list(Answer.objects.filter(polls=None).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        Answer.objects.filter(pk__in=batch).delete()
    return pruned
