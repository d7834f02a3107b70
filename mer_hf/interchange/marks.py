"""A coding as marks: stretches of time with a name and a value, as ELAN and BORIS hold them.

An event is a mark with its class, two marks for its phases, and one for each action unit. Events of one
person at the same time are told apart by their line.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from mer_hf.face.spotting import LONGEST_S

from .coding import KINDS, Event, Span
from .facs import letter_of, strength_of

RISE, FALL = "onset to apex", "apex to offset"
PHASES, BLINK, LOST = "phases", "blink", "face lost"
NAMES = {kind: kind.replace("_", "-" if kind == KINDS[0] else " ") for kind in KINDS}
_STRENGTH = re.compile(r"(?:(left|right|l|r)\s*)?([a-e])?\s*(?:\((\d(?:\.\d+)?), ?(\d(?:\.\d+)?)\))?")
KIND_OF = {name: kind for kind, name in NAMES.items()}


@dataclass(frozen=True)
class Mark:
    """A stretch of time of a person.

    Attributes:
        start_s, end_s (`float`): Seconds from the beginning of the video.
        name (`str`): What it marks: one of `NAMES`, `onset to apex`, `AU4`, `blink`, ...
        value (`str`): The class with its probability, the strength of an action unit, or a reason.
        person (`int`): From 1.
        line (`int`): 1, or more where another event of the person lasts already.
    """

    start_s: float
    end_s: float
    name: str
    value: str = ""
    person: int = 1
    line: int = 1


def marks_of(events: Iterable[Event], blinks: Iterable[Span], gaps: Iterable[Span]) -> Iterator[Mark]:
    """Yield the marks of events, which are in order of time, blinks and gaps."""
    ends: dict[tuple[int, int], float] = defaultdict(float)
    for event in events:
        line = next(n for n in count(1) if ends[event.person, n] <= event.onset_s)
        span, who = (event.onset_s, max(event.offset_s, event.onset_s + 0.001)), (event.person, line)
        ends[who] = span[1]
        likely = "" if event.probability is None else f" ({event.probability:.2f})"
        yield Mark(*span, NAMES[event.kind], f"{event.label}{likely}".strip(), *who)
        for name, start_s, end_s in ((RISE, span[0], event.apex_s), (FALL, event.apex_s, span[1])):
            if event.apex_s is not None and start_s < end_s:
                yield Mark(start_s, end_s, name, "", *who)
        for unit, sides in event.action_units.items():
            yield Mark(*span, unit, _unit_text(sides), *who)
    for name, spans in ((BLINK, blinks), (LOST, gaps)):
        for span in spans:
            yield Mark(span.start_s, span.end_s, name, span.what, span.person)


def from_marks(marks: Iterable[Mark], step_s: float = 0.0) -> dict[str, tuple]:
    """Return `events`, `blinks` and `gaps` of a [`Coding`].

    Whether an expression is a micro-expression follows from how long it lasts, `step_s` (a frame) apart.

    Phases and action units belong to the event that they overlap most. Action units that overlap none are an
    event of their own.

    Raises:
        ValueError: If a mark ends before it starts, or an action unit has a strength that cannot be read.
    """
    marks = [replace(mark, name=known_name(mark.name)) for mark in marks if mark.end_s != mark.start_s]
    if backward := next((mark for mark in marks if mark.end_s < mark.start_s), None):
        raise ValueError(f"{backward.name} at {backward.start_s} s ends at {backward.end_s} s")
    own = [mark for mark in marks if mark.name in KIND_OF]
    units = [mark for mark in marks if mark.name.startswith("AU")]
    own += [mark for mark in _together(units) if not _overlapping(mark, own)]
    parts = defaultdict(list)
    for mark in marks:
        parts[id(_owner(mark, own))].append(mark)
    own.sort(key=lambda mark: (mark.person, mark.start_s, mark.line))
    events = tuple(_event(mark, parts[id(mark)], step_s) for mark in own)
    spans = {
        name: tuple(Span(m.start_s, m.end_s, m.value, m.person) for m in marks if m.name == name)
        for name in (BLINK, LOST)
    }
    return {"events": events, "blinks": spans[BLINK], "gaps": spans[LOST]}


def known_name(name: str) -> str | None:
    """Return a mark's name as it is written here, `AU12` for `au12` and `AU4` for `AU04`; None if unknown."""
    plain = name.strip().lower()
    if unit := re.fullmatch(r"au0?([1-9]\d?)", plain, re.ASCII):
        return f"AU{unit[1]}"
    return plain if plain in (*KIND_OF, RISE, FALL, BLINK, LOST) else None


def _overlap_s(one: Mark, other: Mark) -> float:
    if one.person != other.person:
        return 0.0
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def _overlapping(mark: Mark, others: list[Mark]) -> list[Mark]:
    return [other for other in others if _overlap_s(mark, other) > 1e-6]


def _owner(mark: Mark, own: list[Mark]) -> Mark | None:
    """Return the event's mark that a mark belongs to, of its own line if there is one."""
    near = _overlapping(mark, own)
    return max(near, key=lambda each: (each.line == mark.line, _overlap_s(mark, each)), default=None)


def _together(units: list[Mark]) -> list[Mark]:
    """Join marks of action units that overlap; the result stands for an event without a class."""
    joined: list[Mark] = []
    for mark in sorted(units, key=lambda mark: (mark.person, mark.start_s)):
        if joined and _overlap_s(mark, joined[-1]) > 1e-6:
            last = joined.pop()
            mark = Mark(last.start_s, max(last.end_s, mark.end_s), "", "", mark.person)
        joined.append(Mark(mark.start_s, mark.end_s, "", "", mark.person))
    return joined


def _event(own: Mark, parts: list[Mark], step_s: float) -> Event:
    label, likely = _class_and_probability(own.value)
    apexes = [m.end_s for m in parts if m.name == RISE] + [m.start_s for m in parts if m.name == FALL]
    apex_s = min(max(apexes[0], own.start_s), own.end_s) if apexes else None
    units: dict[str, tuple[float, float]] = {}
    for mark in (mark for mark in parts if mark.name.startswith("AU")):
        pairs = zip(_sides(mark), units.get(mark.name, (0.0, 0.0)), strict=True)
        units[mark.name] = tuple(max(pair) for pair in pairs)
    kind = KIND_OF.get(own.name, KINDS[1])
    if kind in KINDS[:2]:
        kind = KINDS[0] if own.end_s - own.start_s <= LONGEST_S + step_s + 1e-6 else KINDS[1]
    return Event(own.start_s, apex_s, own.end_s, kind, label, likely, units, own.person)


def _class_and_probability(text: str) -> tuple[str, float | None]:
    """Split `positive (0.83)`."""
    match = re.fullmatch(r"(.*?)\s*(?:\(([01](?:\.\d+)?)\))?", text.strip(), re.DOTALL)
    return match[1], float(match[2]) if match[2] else None


def _unit_text(sides: tuple[float, float]) -> str:
    """Write `left B (0.66, 0.12)`: the side where it is one side, the letter, and left and right."""
    left, right = sides
    side = "" if min(sides) >= 0.5 * max(sides) else "left " if left > right else "right "
    return f"{side}{letter_of(max(sides))} ({left:.2f}, {right:.2f})"


def _sides(mark: Mark) -> tuple[float, float]:
    """Read `left B (0.66, 0.12)`, and what a person writes instead: `left B`, `B`, or nothing.

    The numbers count while the letter and the side before them still say the same.
    """
    if not (match := _STRENGTH.fullmatch(mark.value.strip().lower())):
        raise ValueError(f"{mark.name} has the strength {mark.value!r}; expected such as B or left B")
    side, letter = (match[1] or "")[:1], match[2]
    if match[3]:
        sides = (float(match[3]), float(match[4]))
        if _unit_text(sides).lower().split(" (")[0] == " ".join(filter(None, (match[1], letter))):
            return sides
    strength = strength_of((letter or "").upper())
    return (0.0 if side == "r" else strength), (0.0 if side == "l" else strength)
