"""Polls and answers that nothing stands on any more."""

from datetime import datetime, timedelta

from usage.models import Answer, Poll

BATCH = 1_000


def prune(now: datetime, *, keep_days: int) -> int:
    """Delete polls older than `keep_days` on which nothing stands, then answers without a poll. How many polls went.

    In batches, so that the database is never held for long.
    """
    old = Poll.objects.filter(
        started_at__lt=now - timedelta(days=keep_days),
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
