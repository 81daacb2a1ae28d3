"""A process has one large answer in hand at a time, so that its memory is that of one, however many calls it makes.

How much that is, and why these sizes, stands in docs/decisions/0012.
"""

import ctypes
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from usage.wolkvox.deadline import Deadline
from usage.wolkvox.errors import TimedOut

SMALL_BYTES = 32 * 1024
"""An answer of so much, some 300 rows, waits for nobody."""

UNREAD_BYTES = 512 * 1024
"""So much of a larger one is read before its turn comes: a vendor that sends slowly seldom holds up the others."""

_turn = threading.Lock()


class Hand:
    """What has hold of an answer, from its first byte until nothing that was made of it is left.

    A context manager, for one call of one thread.
    """

    def __init__(self) -> None:
        self._has_turn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_turn:
            self._has_turn = False
            _turn.release()

    def await_turn(self, deadline: Deadline) -> None:
        """Wait, unless it has come, until no other hand has hold of a large answer. Raises TimedOut."""
        if self._has_turn:
            return
        self._has_turn = _turn.acquire(timeout=deadline.seconds_left)
        if not self._has_turn:
            raise TimedOut("Other large answers were in hand until the time was up.", is_under_way=True)
        _give_freed_memory_back()


def _give_freed_memory_back() -> None:
    """glibc keeps up to 64 MB of what each thread frees, once it has seen large pieces come and go; told a size, it
    gives those above it back at once.
    """
    m_mmap_threshold = -3
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(m_mmap_threshold, 128 * 1024)
