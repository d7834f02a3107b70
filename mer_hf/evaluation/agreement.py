"""How far two codings of a video agree: two coders, or a coder and a network.

Classes and action units are compared frame by frame, by Cohen's kappa (Cohen 1960). Events are paired one to
one by how much their intervals overlap (intersection over union), so that all pairs together overlap most.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import cohen_kappa_score

from mer_hf.interchange.coding import KINDS, MOST_LATE_S, Coding, Event

STEP_S = 0.02
"""Length of a frame where neither coding says it."""
LEAST_OVERLAP = 0.5
"""Intersection over union from which a pair counts as the same event in F1."""
ANY = "any expression"


@dataclass(frozen=True)
class Agreement:
    """What two codings have in common.

    Attributes:
        kappas (`dict[str, dict]`): Class or action unit -> `kappa` (None where neither coding has it, or only
            one frame kind occurs), and the share of time, `a` and `b`, in which each coding has it.
        pairs (`list[dict]`): Of paired events: indices `a` and `b`, `overlap`, both labels, and by how many
            milliseconds onset, apex and offset of B are later than those of A.
        only_a, only_b (`int`): Events without a partner.
        f1 (`float` or `None`): Of pairs that overlap by `LEAST_OVERLAP`; None without events.
        label_kappa (`float` or `None`): Of the labels of pairs that both have one.
    """

    kappas: dict[str, dict]
    pairs: list[dict]
    only_a: int
    only_b: int
    f1: float | None
    label_kappa: float | None


def agreement(a: Coding, b: Coding) -> Agreement:
    """Compare two codings of one video.

    Raises:
        ValueError: If they are of different videos: of other bytes or, where a coding does not know them,
            of another length.
    """
    _check_same_video(a, b)
    of_a, of_b = (
        [replace(each, label=each.label.strip().lower()) for each in coding.kept if each.kind in KINDS[:2]]
        for coding in (a, b)
    )
    pairs = [_pair(of_a, of_b, i, j, overlap) for i, j, overlap in _matched(of_a, of_b)]
    good = sum(pair["overlap"] >= LEAST_OVERLAP for pair in pairs)
    labels = [pair["labels"] for pair in pairs if all(pair["labels"])]
    count = len(of_a) + len(of_b)
    return Agreement(
        kappas=_kappas(of_a, of_b, a, b),
        pairs=pairs,
        only_a=len(of_a) - len(pairs),
        only_b=len(of_b) - len(pairs),
        f1=2 * good / count if count else None,
        label_kappa=_kappa(*zip(*labels, strict=True)) if labels else None,
    )


def _check_same_video(a: Coding, b: Coding) -> None:
    """Refuse codings of different videos, as far as they say of which they are."""
    names = [Path(each.video).name for each in (a, b)]
    if a.sha256 and b.sha256 and a.sha256 != b.sha256:
        if names[0] == names[1]:
            raise ValueError(f"{names[0]} was changed or replaced between the two codings: its bytes differ.")
        raise ValueError(f"the codings are of different videos ({a.video} and {b.video}).")
    lengths_s = a.duration_s or math.nan, b.duration_s or math.nan
    if abs(lengths_s[0] - lengths_s[1]) > MOST_LATE_S:
        raise ValueError(
            f"the codings are of different videos: {names[0]} of {lengths_s[0]:.2f} s and {names[1]} of "
            f"{lengths_s[1]:.2f} s."
        )


def _overlap(one: Event, other: Event) -> float:
    """Return intersection over union; 0 for different people."""
    if one.person != other.person:
        return 0.0
    common = min(one.offset_s, other.offset_s) - max(one.onset_s, other.onset_s)
    whole = max(one.offset_s, other.offset_s) - min(one.onset_s, other.onset_s)
    return max(common, 0.0) / max(whole, 1e-9)


def _matched(of_a: list[Event], of_b: list[Event]) -> list[tuple[int, int, float]]:
    if not (of_a and of_b):
        return []
    overlaps = np.array([[_overlap(one, other) for other in of_b] for one in of_a])
    rows, columns = linear_sum_assignment(-overlaps)
    pairs = zip(rows.tolist(), columns.tolist(), overlaps[rows, columns].tolist(), strict=True)
    return [pair for pair in pairs if pair[2] > 0]


def _pair(of_a: list[Event], of_b: list[Event], i: int, j: int, overlap: float) -> dict:
    one, other = of_a[i], of_b[j]
    later_ms = {}
    for name in ("onset", "apex", "offset"):
        times_s = getattr(one, f"{name}_s"), getattr(other, f"{name}_s")
        later_ms[f"{name}_ms"] = None if None in times_s else round(1000 * (times_s[1] - times_s[0]), 1)
    return {"a": i, "b": j, "overlap": round(overlap, 4), "labels": (one.label, other.label), **later_ms}


def _kappas(of_a: list[Event], of_b: list[Event], a: Coding, b: Coding) -> dict[str, dict]:
    """Compare frame by frame; the frames of several people follow one another."""
    events = of_a + of_b
    step_s = 1 / max(a.fps or 0, b.fps or 0) if a.fps or b.fps else STEP_S
    end_s = max([a.duration_s or 0.0, b.duration_s or 0.0, *(event.offset_s for event in events)])
    people = sorted({event.person for event in events}) or [1]
    times_s = (np.arange(max(1, round(end_s / step_s))) + 0.5) * step_s
    labels = sorted({event.label for event in events} - {""})
    units = {unit for event in events for unit in event.action_units}

    def shown(own: list[Event], name: str) -> np.ndarray:
        frames = np.zeros((len(people), len(times_s)), dtype=bool)
        for event in own:
            if name in (ANY, event.label, *event.action_units):
                frames[people.index(event.person)] |= (times_s >= event.onset_s) & (times_s < event.offset_s)
        return frames.ravel()

    result = {}
    for name in [ANY, *labels, *sorted(units, key=lambda unit: int(unit[2:]))]:
        in_a, in_b = shown(of_a, name), shown(of_b, name)
        result[name] = {"kappa": _kappa(in_a, in_b), "a": round(in_a.mean(), 4), "b": round(in_b.mean(), 4)}
    return result


def _kappa(one, other) -> float | None:
    """Return Cohen's kappa; None where all are alike in both, so that chance alone would agree."""
    if len(set(one) | set(other)) < 2:
        return None
    return round(float(cohen_kappa_score(one, other)), 4)
