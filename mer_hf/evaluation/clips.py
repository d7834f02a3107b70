"""What checkpoints make of synthetic clips that nobody trained on, through the whole pipeline.

The tables go into the checkpoint's folder as `evaluation.json` and from there into its card: smallest motion
that is recognised, false alarms, action units, robustness, calibration.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mer_hf.inference.calibration import expected_calibration_error
from mer_hf.synthetic.clips import darkness

from .clip_sets import SILENT, Case
from .panel import Answer

EVALUATION_SEED = 2**31 + 23
FILE = "evaluation.json"

SIZES_PX = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
PLAIN = Case(peak_px=2.0, fps=50.0, interocular_px=64.0, noise=1.0)
HARDER = {
    "as a reference": PLAIN,
    "25 frames per second": replace(PLAIN, fps=25.0),
    "200 frames per second": replace(PLAIN, fps=200.0),
    "noise of 5 grey levels": replace(PLAIN, noise=5.0),
    "compressed, H.264 crf 23": replace(PLAIN, crf=23),
    "compressed, H.264 crf 30": replace(PLAIN, crf=30),
    "eyes 36 pixels apart": replace(PLAIN, interocular_px=36.0),
    "one side of the face": replace(PLAIN, one_sided=True),
    "a photograph moved": replace(PLAIN, name="astronaut"),
}
"""What makes a clip harder, all with a motion of 2 px."""


def tasks(clips: int) -> list[tuple[tuple[str, str], Case]]:
    """What [`look`] draws to evaluate checkpoints on.

    Args:
        clips (`int`): For each row of the tables; thrice as many where a promise is measured: motion of 1 px,
            and clips without an expression.

    Returns:
        `list`: ((table, row), case) of every clip.
    """
    rows = [(("size", f"{size}"), Case(peak_px=size)) for size in SIZES_PX]
    rows += [(("silent", kind), Case(kind)) for kind in SILENT]
    rows += [(("harder", name), case) for name, case in HARDER.items()]
    return [
        (key, case)
        for key, case in rows
        for _ in range(3 * clips if key[0] == "silent" or key == ("size", "1.0") else clips)
    ]


def recognised(answer: Answer) -> bool:
    """Whether an expression was reported, and as the right class."""
    return answer.outcome == "micro_expression" and int(answer.logits.argmax()) == answer.label


Answers = list[tuple[tuple[str, str], Answer]]


def report(answers: Answers, note: str, without: Answers | None = None) -> dict:
    """The tables of one checkpoint.

    Args:
        answers (`list`): From [`look`] with [`tasks`].
        note (`str`): Which command, seed and commit gave them.
        without (`list`, *optional*): The same from which action units were hidden.

    Returns:
        `dict`: `summary` name -> value, and `tables`, each with title, columns, rows and note.
    """
    shown = [answer for _, answer in answers if answer.label >= 0]
    sizes = {size: _of(answers, "size", f"{size}") for size in SIZES_PX}
    shares = {size: _share(map(recognised, group)) for size, group in sizes.items()}
    silent = {kind: _of(answers, "silent", kind) for kind in SILENT}
    quiet = {
        kind: _share(each.outcome != "micro_expression" for each in group) for kind, group in silent.items()
    }
    asked = [each for each in shown if each.features is not None]
    scores, labels = np.stack([each.scores for each in asked]), np.array([each.label for each in asked])
    summary = {
        "recognised_at_1_px": shares[1.0],
        "smallest_motion_px_at_80_percent": smallest(shares, 0.8),
        **{f"silent_on_{kind.replace(' ', '_')}": value for kind, value in quiet.items()},
        "calibration_error": round(expected_calibration_error(scores, labels), 4),
    }
    tables = [
        *_tables(answers, sizes, silent, quiet, note),
        _by_action_unit(answers, note),
        _by_skin(answers, note),
    ]
    if without:
        tables.append(_without_action_units(sizes, without, note))
    return {"summary": summary, "tables": tables}


def smallest(shares: dict[float, float], wanted: float) -> float | None:
    """The motion at which a share is reached, on a line between the measured sizes; None if never."""
    sizes = sorted(size for size, share in shares.items() if share == share)  # not those without a clip
    for small, large in zip([None, *sizes], sizes, strict=False):
        if shares[large] >= wanted:
            if small is None or shares[large] == shares[small]:
                return large
            return round(
                small + (large - small) * (wanted - shares[small]) / (shares[large] - shares[small]), 2
            )
    return None


def _of(answers, table: str, row: str) -> list[Answer]:
    return [answer for key, answer in answers if key == (table, row)]


def _share(values: Iterable[bool]) -> float:
    values = list(values)
    return round(sum(values) / len(values), 4) if values else float("nan")


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _tables(answers, sizes, silent, quiet, note: str) -> list[dict]:
    return [
        {
            "title": "Smallest motion that is recognised",
            "columns": ["largest motion, px at 60 px between the eyes", "reported", "right class", "clips"],
            "rows": [
                [f"{size:g}", _percent(_share(e.outcome == "micro_expression" for e in group)),
                 _percent(_share(map(recognised, group))), str(len(group))]
                for size, group in sizes.items()
            ],
            "note": note,
        },
        {
            "title": "Clips without an expression",
            "columns": ["clip", "no expression reported", "clips"],
            "rows": [[kind, _percent(quiet[kind]), str(len(group))] for kind, group in silent.items()],
            "note": note,
        },
        {
            "title": "What makes it harder (motion of 2 px)",
            "columns": ["", "reported", "right class", "clips"],
            "rows": [
                [name, _percent(_share(e.outcome == "micro_expression" for e in group)),
                 _percent(_share(map(recognised, group))), str(len(group))]
                for name in HARDER
                if (group := _of(answers, "harder", name))
            ],
            "note": note,
        },
    ]  # fmt: skip


def _by_action_unit(answers, note: str) -> dict:
    """Recognition by the strongest action unit, of motions of at least 1 px."""
    groups: dict[str, list[Answer]] = {}
    for (table, _), answer in answers:
        if table == "size" and answer.known.peak_px >= 1.0:
            activations = answer.known.activations
            strongest = max(activations, key=lambda name: max(activations[name]))
            groups.setdefault(str(strongest), []).append(answer)
    rows = [
        [name, _percent(_share(map(recognised, groups[name]))), str(len(groups[name]))]
        for name in sorted(groups, key=lambda name: int(name.removeprefix("AU")))
    ]
    columns = ["strongest action unit", "right class", "clips"]
    return {"title": "By action unit (1 px and more)", "columns": columns, "rows": rows, "note": note}


def _by_skin(answers, note: str) -> dict:
    """Recognition by how dark the skin is, of motions of at least 1 px."""
    groups: dict[str, list[Answer]] = {"light": [], "middle": [], "dark": []}
    for (table, _), answer in answers:
        dark = darkness(answer.known.person)
        if table == "size" and answer.known.peak_px >= 1.0 and dark is not None:
            groups[list(groups)[min(int(dark * 3), 2)]].append(answer)
    rows = [
        [name, _percent(_share(map(recognised, group))), str(len(group))]
        for name, group in groups.items()
        if group
    ]
    columns = ["skin", "right class", "clips"]
    return {"title": "By skin tone (1 px and more)", "columns": columns, "rows": rows, "note": note}


def _without_action_units(sizes, without, note: str) -> dict:
    """What the estimated action units are worth to a network that takes them."""
    rows = [
        [f"{size:g}", _percent(_share(map(recognised, group))),
         _percent(_share(map(recognised, _of(without, "size", f"{size}"))))]
        for size, group in sizes.items()
    ]  # fmt: skip
    columns = ["largest motion, px", "right class with estimated action units", "without"]
    return {"title": "With and without action units", "columns": columns, "rows": rows, "note": note}


def to_json(reported: dict) -> str:
    """As it is stored: the summary and the tables, each with title, columns, rows and note."""
    note = reported["tables"][0]["note"]
    rows = [[key.replace("_", " "), _shown(value)] for key, value in reported["summary"].items()]
    short = {"title": "In short", "columns": ["", "value"], "rows": rows, "note": note}
    return json.dumps([short, *reported["tables"]], indent=1) + "\n"


def _shown(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def format_report(name: str, reported: dict) -> str:
    """A few lines for a reader."""
    lines = [name]
    for key, value in reported["summary"].items():
        lines.append(f"  {key.replace('_', ' '):36}{_shown(value)}")
    return "\n".join(lines)
