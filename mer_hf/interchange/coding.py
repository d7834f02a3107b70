"""What was coded in a video, by a network or a person: every format is read into it and written from it.

from mer_hf.interchange.coding import Coding

coding = Coding.of(prediction, "clip.mp4")
coding = coding.changed(0, "Ana", label="negative", onset_s=1.24)
coding.save("clip.coding.json")
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mer_hf.face.action_units import present_units
from mer_hf.face.spotting import LONGEST_S
from mer_hf.utils.files import write_text
from mer_hf.utils.provenance import sha256_of
from mer_hf.utils.untrusted import check_kinds, read_json

FORMAT = "mer_hf coding 1"
KINDS = ("micro_expression", "expression", "other_motion", "candidate")
STATUSES = ("proposed", "confirmed", "corrected", "added", "rejected")
CHANGEABLE = ("onset_s", "apex_s", "offset_s", "kind", "label", "action_units", "status")
MOST_LATE_S = 0.5
"""How much later than its video an event may end: players count the last frames differently."""
LATEST_S = 100_000.0
"""A later time, 27 hours, is a slip: milliseconds, or the number of a frame."""

UNIT = re.compile(r"AU([1-9]|[1-8]\d|9[0-8])", re.ASCII)
"""Names of the manual's units, 1 to 98: people code more than the package measures."""

Units = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Event:
    """One movement of a face.

    Attributes:
        onset_s, apex_s, offset_s (`float`): Seconds from the beginning of the video; the apex may be None.
        kind (`str`): One of `KINDS`.
        label (`str`): The class, or `""`.
        probability (`float`, *optional*): That of the label.
        action_units (`dict[str, tuple[float, float]]`): Those present -> intensity on the person's left and
            right, in [0, 1].
        person (`int`): The face, counted from the left of the picture, from 1.
        status (`str`): One of `STATUSES`.
    """

    onset_s: float
    apex_s: float | None
    offset_s: float
    kind: str = ""
    label: str = ""
    probability: float | None = None
    action_units: Units = field(default_factory=dict)
    person: int = 1
    status: str = "proposed"

    def __post_init__(self) -> None:
        """Take the kind from the duration where it is not given, and refuse what cannot be."""
        if not self.kind:
            brief = self.offset_s - self.onset_s <= LONGEST_S + 1e-6
            object.__setattr__(self, "kind", KINDS[0] if brief else KINDS[1])
        units = {name: tuple(map(float, sides)) for name, sides in self.action_units.items()}
        object.__setattr__(self, "action_units", units)
        order = [each for each in (self.onset_s, self.apex_s, self.offset_s) if each is not None]
        _check_times("onset <= apex <= offset", order, self.person)
        if self.probability is not None and not 0 <= self.probability <= 1 + 1e-6:
            raise ValueError(f"probability must be from 0 to 1, got {self.probability}")
        for name, known in (("kind", KINDS), ("status", STATUSES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name, sides in units.items():
            if not UNIT.fullmatch(name):
                raise ValueError(f"{name} is no action unit; expected such as AU4 or AU12")
            if len(sides) != 2 or not all(0 <= each <= 1 for each in sides):
                raise ValueError(f"{name}: expected a strength from 0 to 1 for each side, got {sides}")


@dataclass(frozen=True)
class Span:
    """A blink, or a stretch without a usable face, in seconds; `what` says why."""

    start_s: float
    end_s: float
    what: str = ""
    person: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check_times("start <= end", [self.start_s, self.end_s], self.person)


@dataclass(frozen=True)
class Coding:
    """Everything coded in a video, and every change that a person made.

    Attributes:
        video (`str`): Its path or name.
        sha256 (`str`): Of the video's bytes; `""` where it was not at hand.
        fps, duration_s (`float`, *optional*): Of the video.
        subject (`str`): Who is seen; for data sets that are evaluated by subject.
        coder (`str`): A person, or the checkpoint.
        events (`tuple[Event, ...]`): As they stand.
        blinks, gaps (`tuple[Span, ...]`): Blinks, and stretches that were not searched.
        answers (`tuple[Event, ...]`): The events as the network gave them.
        changes (`tuple[dict, ...]`): When, who, which event, and what was set.
    """

    video: str = ""
    sha256: str = ""
    fps: float | None = None
    duration_s: float | None = None
    subject: str = ""
    coder: str = ""
    events: tuple[Event, ...] = ()
    blinks: tuple[Span, ...] = ()
    gaps: tuple[Span, ...] = ()
    answers: tuple[Event, ...] = ()
    changes: tuple[dict, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, least, most in (("fps", 1e-3, 1e5), ("duration_s", 0, LATEST_S)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be from {least:g} to {most:,.0f}, got {value}")

    @classmethod
    def of(cls, answer: Any, video: str | os.PathLike = "") -> "Coding":
        """Take a network's answer, a `Prediction` or a `LongVideo`; the video's file may be given."""
        convert = _of_long_video if hasattr(answer, "intervals") else _of_prediction
        events, found = convert(answer)
        path = Path(video)
        sha256 = sha256_of(path) if path.is_file() else ""
        return cls(str(video), sha256, coder=answer.model or "", events=events, answers=events, **found)

    def changed(self, event: int, who: str, **values: Any) -> "Coding":
        """Correct, confirm or reject an event; the change is kept with its time and its author.

        Args:
            event (`int`): Index in `events`.
            who (`str`): The coder.
            **values: New values of `CHANGEABLE`; `status` is `corrected` unless given. A new label has no
                probability.

        Raises:
            ValueError: If there is no such event, or a value cannot be.
        """
        if not 0 <= event < len(self.events):
            raise ValueError(f"there is no event {event}; there are {len(self.events)}, counted from 0.")
        if unknown := set(values) - set(CHANGEABLE):
            raise ValueError(f"{', '.join(unknown)} cannot be changed. Choose from {', '.join(CHANGEABLE)}.")
        old = self.events[event]
        status = "added" if old.status == "added" else "corrected"
        likely = old.probability if values.get("label", old.label) == old.label else None
        new = replace(old, **{"status": status, "probability": likely, **values})
        events = (*self.events[:event], new, *self.events[event + 1 :])
        return replace(self, events=events, changes=(*self.changes, _change(event, who, values)))

    def added(self, who: str, **values: Any) -> "Coding":
        """Add an event that was missed; `values` are those of an [`Event`]."""
        event = Event(**{**values, "status": "added"})
        change = _change(len(self.events), who, values)
        return replace(self, events=(*self.events, event), changes=(*self.changes, change))

    @property
    def kept(self) -> tuple[Event, ...]:
        """Return the events that nobody rejected, in order of time."""
        kept = [event for event in self.events if event.status != "rejected"]
        return tuple(sorted(kept, key=lambda event: (event.person, event.onset_s)))

    @property
    def author(self) -> str:
        """Return who coded it last: a person who changed it, or the `coder`."""
        return self.changes[-1]["who"] if self.changes else self.coder

    def to_dict(self) -> dict:
        """Return everything, as values that JSON has."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Coding":
        """Read what `to_dict` returns.

        Raises:
            ValueError: If it is anything else.
        """
        if not isinstance(values, Mapping) or values.get("format") != FORMAT:
            raise ValueError(f"expected an object with format {FORMAT!r}")
        parts = {"events": Event, "answers": Event, "blinks": Span, "gaps": Span}
        given = {key: value for key, value in values.items() if key != "format"}
        try:
            for name, kind in parts.items():
                check_kinds(given.get(name, []), list, name)
                given[name] = tuple(_made(kind, each, name) for each in given.get(name, ()))
            for each in given.get("changes", ()):
                check_kinds(each, {"who": str}, "changes")
            return _made(cls, given | {"changes": tuple(given.get("changes", ()))}, "coding")
        except TypeError as error:
            raise ValueError(f"it does not have the expected form ({error})") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file."""
        write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Coding":
        """Read a JSON file that `save` wrote."""
        return cls.from_dict(read_json(Path(path)))


def _made(kind: type, values: Any, where: str) -> Any:
    """Make a part of a coding from an object whose values are all of their kinds."""
    check_kinds(values, dict, where)
    check_kinds(values, {name: each for name, each in kind.__annotations__.items() if name in values}, where)
    return kind(**values)


def _check_times(expected: str, times_s: list[float], person: int) -> None:
    if times_s != sorted(times_s) or not all(0 <= each <= LATEST_S for each in times_s):
        raise ValueError(f"expected 0 <= {expected} <= {LATEST_S:,.0f} in seconds, got {times_s}")
    if person < 1:
        raise ValueError(f"people are counted from 1, got {person}")


def _change(event: int, who: str, values: Mapping[str, Any]) -> dict:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"when": when, "who": who, "event": event, "set": values}


def _of_prediction(answer: Any) -> tuple[tuple[Event, ...], dict]:
    times_s = answer.timestamps_s
    if not all(math.isfinite(time_s) for time_s in times_s):
        raise ValueError("the frame rate is unknown, so there are no times to write. Give it (--fps).")
    step_s = float(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
    closed = [(float(times_s[a]), float(times_s[b]) + step_s) for a, b in answer.phases.blinks]
    found = {
        "fps": round(1 / step_s, 4) if step_s else None,
        "duration_s": float(times_s[-1]) + step_s,
        "blinks": tuple(Span(*ends_s, "", answer.face) for ends_s in closed),
    }
    if not answer.classified:
        return (), found
    found_at = answer.phases.onset, answer.phases.apex, answer.phases.offset
    onset, apex, offset = (float(times_s[frame]) for frame in found_at)
    label, units = answer.label or "", present_units(answer.action_units)
    likely = answer.scores.get(label)
    return (Event(onset, apex, offset, answer.outcome, label, likely, units, answer.face),), found


def _of_long_video(answer: Any) -> tuple[tuple[Event, ...], dict]:
    events = tuple(
        Event(
            one.onset_s, one.apex_s, one.offset_s, one.outcome, one.label or "", one.scores.get(one.label),
            one.action_units, one.person,
        )
        for one in answer.intervals
    )  # fmt: skip
    return events, {
        "duration_s": answer.duration_s,
        "blinks": tuple(Span(blink.start_s, blink.end_s, "", blink.person) for blink in answer.blinks),
        "gaps": tuple(Span(gap.start_s, gap.end_s, gap.reason, gap.person) for gap in answer.gaps),
    }


def joined(codings: "list[Coding]") -> Coding:
    """Join the codings of one video, one for each face."""
    parts = ("events", "blinks", "gaps", "answers", "changes")
    together = {name: tuple(each for one in codings for each in getattr(one, name)) for name in parts}
    return replace(codings[0], **together)
