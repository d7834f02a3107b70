"""Who asks, and turns: one visitor has a share of the page, and short work is not behind long work."""

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from gradio.context import LocalContext
from gradio.queueing import Queue
from starlette.datastructures import Address

MOST_OF_SESSION, MOST_OF_ADDRESS = 8, 64
"""Requests that one open page, and one address, may have waiting or at work."""
MOST_AT_WORK = 128
"""Requests that the page has at work, most of them waiting for their turn: more than one address may have."""
MOST_WAITING = 256
"""Further requests, in Gradio's queue; visitors beyond that are told that it is full."""
MOST_REMEMBERED = 1000
NETWORK = {"concurrency_limit": None}
"""Of every event that needs turns: who does the work gives them, and a clip in memory waits for none."""


class Visitor(NamedTuple):
    """The address of a request, and which open page there sent it."""

    address: str
    session: str


def address_of(client: Address | None) -> str:
    """Return whom an address belongs to: of IPv6, one customer has the first half."""
    host = client.host if client else ""
    return str(ipaddress.ip_network((host, 64), strict=False)) if ":" in host else host


def visitor() -> Visitor:
    """Return who asked for the work of this thread; outside of the page, nobody."""
    request = LocalContext.request.get(None)
    session = getattr(request, "session_hash", None) or ""  # a function of a component has none
    return Visitor(address_of(request.client), session) if request else Visitor("", "")


class SharedQueue(Queue):
    """Gradio's queue, in which one visitor has a share."""

    async def push(self, body, request, username):
        """Add a request, or refuse it with the reason."""
        here = address_of(request.client)
        pending = self.event_ids_to_events.values()
        events = [event for event in pending if address_of(event.request.client) == here]
        # Calls without a session are given one each: together they are one visitor.
        sessions = [None if event.session_hash == event._id else event.session_hash for event in events]
        for count, most, whose in (
            (sessions.count(body.session_hash), MOST_OF_SESSION, "this visitor"),
            (len(events), MOST_OF_ADDRESS, "this address"),
        ):
            if count >= most:
                reason = f"The queue is full for {whose}: {count} requests wait. Wait for an answer."
                return False, reason, "queue_full"
        return await super().push(body, request, username)


@dataclass(eq=False)
class _Ticket:
    """A piece of work that waits for its turn or has it."""

    visitor: Visitor
    is_long: bool


class Turns:
    """Turns at work of which little may happen at once.

    The next turn goes to the address that had its last one longest ago, and there to the session that had.
    Where there are several places, long work leaves one of them to short work.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._waiting: list[_Ticket] = []
        self._working: list[_Ticket] = []
        self._last_turn: dict[str | Visitor, int] = {}
        self._turns = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, is_long: bool = False) -> Iterator[None]:
        """Wait until it is this visitor's turn, and have it within the block."""
        ticket = _Ticket(visitor(), is_long)
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._next() is ticket)
            self._waiting.remove(ticket)
            self._working.append(ticket)
            self._note(ticket.visitor)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._working.remove(ticket)
                self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        """Return who is next, None while every place is taken."""
        if len(self._working) >= self.at_once:
            return None
        places = max(self.at_once - 1, 1)  # for long work
        full = sum(ticket.is_long for ticket in self._working) >= places
        ready = [ticket for ticket in self._waiting if not (full and ticket.is_long)]
        return min(ready, key=self._rank, default=None)  # of equals, the one that came first

    def _rank(self, ticket: _Ticket) -> tuple[int, int]:
        last = self._last_turn
        return last.get(ticket.visitor.address, 0), last.get(ticket.visitor, 0)

    def _note(self, visitor: Visitor) -> None:
        if len(self._last_turn) > MOST_REMEMBERED:
            self._last_turn.clear()
        self._turns += 1
        self._last_turn[visitor.address] = self._last_turn[visitor] = self._turns
