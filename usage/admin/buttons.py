"""“Test the connection” and “Poll now”: who presses waits for the vendor, and is told in words what came."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from usage import disk, tasks
from usage.collecting import claims, pacing, polling
from usage.models import Feed, Operation, Poll
from usage.presenting import words
from usage.presenting.feeds import state_of

AT_ONCE = 3
"""How many feeds are polled while somebody waits: a call may take a minute. More go to a worker."""


def test(request: HttpRequest, operation: Operation) -> None:
    """One call: the feed that is polled most often."""
    if feeds := _feeds(request, operation):
        _poll(request, operation, feeds[:1])


def poll_now(request: HttpRequest, operation: Operation) -> None:
    now = timezone.now()
    feeds = _feeds(request, operation)
    free = [feed for feed in feeds if pacing.free_at(feed, now) <= now]
    if len(free) <= AT_ONCE:
        _poll(request, operation, feeds)
        return
    polling.bring_forward(operation, now)
    if tasks.poll_soon(operation.pk):
        said = gettext("%(count)s feeds are being polled one after another: reload this page to see what came of it.")
        messages.info(request, said % {"count": len(free)})
    else:
        messages.warning(request, no_broker())


def no_broker() -> str:
    return gettext("The broker can't be reached: polling starts by itself when it is back.")


def _feeds(request: HttpRequest, operation: Operation) -> Sequence[Feed]:
    """The feeds that may be polled at all; where there are none, why."""
    feeds = operation.feeds.filter(is_enabled=True).order_by("interval", "pk")
    if not operation.is_active:
        messages.error(request, gettext("This operation is not active: tick “active” and save, then try again."))
        return []
    if not feeds:
        messages.error(request, gettext("No feed is polled: tick one and save, then try again."))
    return list(feeds)


def _poll(request: HttpRequest, operation: Operation, feeds: Sequence[Feed]) -> None:
    """Poll those that the vendor's pace allows, and say a line of each."""
    apis = [feed.api for feed in feeds]
    try:
        polls = polling.poll_operation(operation.pk, client=polling.vendor(), apis=apis, is_due=False, at_pace=True)
    except claims.TokenInUse:
        said = gettext("Another poll is using the token at this moment. Try again in a minute.")
        messages.warning(request, said)
        return
    except claims.ClaimLost:
        said = gettext("The call took so long that the token went to another poll: nothing was recorded.")
        messages.warning(request, said)
        return
    except disk.DiskFull:
        messages.error(request, words.disk_is_full())
        return
    for poll in polls:
        _say(request, poll)
    polled = {poll.feed.api for poll in polls}
    now = timezone.now()
    for feed in feeds:
        if feed.api not in polled:
            feed.refresh_from_db()
            messages.info(request, _waits(feed) if pacing.free_at(feed, now) > now else _spared(feed, polls))
    _say_name(request, operation)


def _say(request: HttpRequest, poll: Poll) -> None:
    outcome = words.of_outcome(poll.outcome)
    api = words.api_title(poll.feed.api)
    if poll.is_good:
        shown = poll.feed.snapshots.filter(last_seen=poll.feed.last_good_poll_at or poll.started_at)
        products = shown.values("product").distinct().count()
        figures = {"rows": words.number(poll.rows), "products": words.number(products)}
        said = gettext("%(api)s: %(outcome)s. Rows: %(rows)s, products: %(products)s.")
        messages.success(request, said % {"api": api, "outcome": outcome.title, **figures})
        return
    said = gettext("%(api)s: %(outcome)s – “%(message)s”. %(advice)s")
    if not poll.message:
        said = gettext("%(api)s: %(outcome)s. %(advice)s")
    again = state_of(poll.feed, poll.feed.operation, timezone.now()).again
    texts = {"api": api, "outcome": outcome.title, "message": poll.message.rstrip(".")}
    said %= {**texts, "advice": f"{outcome.explained} {again}".strip()}
    messages.add_message(request, messages.ERROR if outcome.waits else messages.WARNING, said)


def _waits(feed: Feed) -> str:
    """When a feed that was left out may be polled again, and how its last poll went."""
    now, zone = timezone.now(), feed.operation.zone
    said = gettext("%(api)s: %(outcome)s at %(time)s. The vendor lets it be polled again at %(again)s.")
    return said % {
        "api": words.api_title(feed.api),
        "outcome": words.of_outcome(feed.failing_outcome or "good").title,
        "time": words.moment(feed.last_poll_at or now, zone, now),
        "again": words.moment(pacing.free_at(feed, now), zone, now),
    }


def _spared(feed: Feed, polls: Sequence[Poll]) -> str:
    said = gettext("%(api)s: not called, since what failed before it concerns it too.")
    if all(poll.is_good for poll in polls):
        said = gettext("%(api)s: not called, for the day's calls run short.")
    return said % {"api": words.api_title(feed.api)}


def _say_name(request: HttpRequest, operation: Operation) -> None:
    """By its name at the vendor one sees whether the token is the right operation's."""
    operation.refresh_from_db(fields=["vendor_name", "other_vendor_name"])
    if operation.other_vendor_name:
        messages.warning(request, words.another_name(operation))
    elif operation.vendor_name:
        said = gettext("The vendor calls this operation “%(name)s”.")
        messages.info(request, said % {"name": operation.vendor_name})
