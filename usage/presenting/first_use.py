"""An operation's first use in three steps: add it, test its connection, see its first figures.

Each says how far it is and what to do next. All of it is read from what polls have left; nothing is stored for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils.translation import gettext as _

from usage.models import Feed, Operation, Snapshot

from . import words
from .feeds import FeedState, State, health_of, state_of

NEWS = timedelta(days=1)
"""How long the steps are shown after the first figures: who added the operation sees that all is done."""

TAKEN_WITHIN = timedelta(minutes=2)
"""A worker takes a poll that is due within this. One that is due for longer waits for a worker in vain."""


class Stage(StrEnum):
    DONE = "done"
    NEXT = "next"
    LATER = "later"


@dataclass(frozen=True)
class Step:
    stage: Stage
    said: str

    @property
    def is_done(self) -> bool:
        return self.stage == Stage.DONE

    @property
    def is_next(self) -> bool:
        return self.stage == Stage.NEXT

    @property
    def word(self) -> str:
        return {Stage.DONE: _("done"), Stage.NEXT: _("next"), Stage.LATER: _("later")}[self.stage]


@dataclass(frozen=True)
class Steps:
    adding: Step
    testing: Step
    seeing: Step


def before_adding() -> Steps:
    adding = _("A name, the four digits of its server and a token are enough.")
    testing = _("wolkvox is asked as soon as the operation is saved.")
    return Steps(Step(Stage.NEXT, adding), Step(Stage.LATER, testing), Step(Stage.LATER, _to_come()))


def steps_of(operation: Operation, polled: Sequence[Feed], now: datetime) -> Steps | None:
    """How far a new operation is, with its enabled feeds; None where its first figures are no news any more."""
    figures = Snapshot.objects.filter(feed__operation=operation)
    if figures.filter(first_seen__lt=now - NEWS).exists():
        return None
    return Steps(_adding(polled), _testing(operation, polled, now), _seeing(operation, polled, now, figures.exists()))


def _adding(polled: Sequence[Feed]) -> Step:
    if not polled:
        return Step(Stage.DONE, _("Any of the 27 APIs can be ticked below."))
    said = _("It is asked for: %(apis)s. Any other of the 27 APIs can be ticked below.")
    return Step(Stage.DONE, said % {"apis": ", ".join(words.api_title(feed.api) for feed in polled)})


def _testing(operation: Operation, polled: Sequence[Feed], now: datetime) -> Step:
    if not operation.is_active:
        return Step(Stage.NEXT, _("It is not active: tick “active” and save."))
    if not polled:
        return Step(Stage.NEXT, _("No feed is polled: tick one below and save."))
    asked = [feed for feed in polled if feed.last_poll_at]  # a new token has been tried on none
    heard = [feed.last_good_poll_at for feed in asked if feed.last_good_poll_at and not feed.failing_since]
    if heard:
        return _tested(operation, words.moment(max(heard), operation.zone, now))
    worst = health_of(operation, asked, now).worst
    if worst and worst.is_trouble:
        return Step(Stage.NEXT, in_full(worst))
    if any(feed.next_due_at and feed.next_due_at < now - TAKEN_WITHIN for feed in polled):
        said = _("No worker has asked wolkvox yet. Test it here, and see to it that a worker and beat run.")
        return Step(Stage.NEXT, said)
    return Step(Stage.NEXT, _("A worker asks wolkvox within a minute; the answer stands here then."))


def _tested(operation: Operation, time: str) -> Step:
    if operation.other_vendor_name:
        return Step(Stage.NEXT, words.another_name(operation))
    said = _("The vendor answered at %(time)s.")
    if operation.vendor_name:
        said = _(
            "The vendor answered at %(time)s and calls this operation “%(name)s”. If that is not the one you meant, "
            "paste the right token below."
        )
    return Step(Stage.DONE, said % {"time": time, "name": operation.vendor_name})


def _seeing(operation: Operation, polled: Sequence[Feed], now: datetime, has_figures: bool) -> Step:
    if has_figures:
        return Step(Stage.DONE, _("They are on its page."))
    states = [state_of(feed, operation, now) for feed in polled]
    held = next((state for state in states if state.state == State.HELD), None)
    return Step(Stage.LATER, f"{held.sentence}." if held else _to_come())


def _to_come() -> str:
    return _("They stand on its page with the first good answer.")


def in_full(state: FeedState) -> str:
    """What fails a feed, in the vendor's words too, whether it passes, what to do, and when it is tried again."""
    message = state.feed.failing_message.rstrip(".") if state.outcome else ""
    wrong = _("%(what)s – “%(message)s”.") if message else "%(what)s."
    return f"{wrong % {'what': state.sentence, 'message': message}} {state.explained}".strip()
