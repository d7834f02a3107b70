"""Tables of results on test clips: smallest recognised motion, false alarms, robustness and more.

They are stored in the checkpoint's folder as `evaluation.json`, from where they go into its card.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mer_hf.inference.calibration import expected_calibration_error
from mer_hf.synthetic.clips import darkness

from .clip_results import ClipResult
from .clip_sets import SILENT, TestClip
from .metrics import grouped

EVALUATION_SEED = 2**31 + 23
FILE = "evaluation.json"

SKINS = ("light", "middle", "dark")
SIZES_PX = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
PLAIN = TestClip(peak_px=2.0, fps=50.0, interocular_px=64.0, noise=1.0)
HARDER = {
    "as a reference": PLAIN,
    "25 frames per second": replace(PLAIN, fps=25.0),
    "200 frames per second": replace(PLAIN, fps=200.0),
    "noise of 5 grey levels": replace(PLAIN, noise=5.0),
    "compressed, H.264 crf 23": replace(PLAIN, crf=23),
    "compressed, H.264 crf 30": replace(PLAIN, crf=30),
    "eyes 36 pixels apart": replace(PLAIN, interocular_px=36.0),
    "one side of the face": replace(PLAIN, one_sided=True),
    "a photograph moved": replace(PLAIN, face="astronaut"),
}
"""What makes a clip harder, all with a motion of 2 px."""

Groups = dict[str, list[ClipResult]]
RIGHT, NOTHING = "right class", "no expression reported"
MEASURES = {
    "reported": lambda result: result.reported,
    RIGHT: lambda result: result.recognised,
    NOTHING: lambda result: not result.reported,
}
"""Column -> what is counted in it."""


def measurement_clips(clips: int) -> list[TestClip]:
    """Return the clips that checkpoints are measured on: `clips` for each row of the tables.

    Three times as many are taken where a promise is measured: motion of 1 px, and no expression.
    """
    tests = [TestClip(peak_px=size, row=("size", f"{size:g}")) for size in SIZES_PX]
    tests += [TestClip(kind, row=("silent", kind)) for kind in SILENT]
    tests += [replace(test, row=("harder", name)) for name, test in HARDER.items()]
    return [
        test
        for test in tests
        for _ in range(3 * clips if test.row[0] == "silent" or test.row == ("size", "1") else clips)
    ]


def report(results: list[ClipResult], note: str, without: list[ClipResult] | None = None) -> dict:
    """Return the `summary` (name -> value) and the `tables` of one checkpoint.

    Args:
        results (`list[ClipResult]`): Of [`measurement_clips`].
        note (`str`): Command, seed and commit that gave them.
        without (`list[ClipResult]`, *optional*): The same with action units hidden from the network.
    """
    sizes, silent, harder = (_by_row(results, table) for table in ("size", "silent", "harder"))
    shares = {float(size): _share(group, RIGHT) for size, group in sizes.items()}
    asked = [each for each in results if each.label >= 0 and each.features is not None]
    scores, labels = np.stack([each.scores for each in asked]), np.array([each.label for each in asked])
    summary = {
        "recognised_at_1_px": shares[1.0],
        "smallest_motion_px_at_80_percent": smallest(shares, 0.8),
        **{f"silent_on_{kind.replace(' ', '_')}": _share(group, NOTHING) for kind, group in silent.items()},
        "calibration_error": round(expected_calibration_error(scores, labels), 4),
    }
    clear = [each for each in results if each.test.row[0] == "size" and each.peak_px >= 1.0]
    both = "reported", RIGHT
    size = "largest motion, px"
    tables = [
        ("Smallest motion that is recognised", f"{size} at 60 px between the eyes", sizes, both),
        ("Clips without an expression", "clip", silent, [NOTHING]),
        ("What makes it harder (motion of 2 px)", "", harder, both),
        ("By action unit (1 px and more)", "strongest action unit", _by_action_unit(clear), [RIGHT]),
        ("By skin tone (1 px and more)", "skin", _by_skin(clear), [RIGHT]),
    ]
    made = [_table(*table) for table in tables]
    if without:
        columns = [size, f"{RIGHT} with estimated action units", "without"]
        hidden = _by_row(without, "size")
        rows = [[name, *(_percent(each[name], RIGHT) for each in (sizes, hidden))] for name in sizes]
        made.append({"title": "With and without action units", "columns": columns, "rows": rows})
    return {"summary": summary, "tables": [table | {"note": note} for table in made]}


def _by_row(results: list[ClipResult], table: str) -> Groups:
    """Return the results of each row of a table."""
    return grouped([each for each in results if each.test.row[0] == table], lambda each: each.test.row[1])


def _by_action_unit(results: list[ClipResult]) -> Groups:
    """Group results by the strongest action unit."""
    groups = grouped(
        results, lambda each: max(each.activations, key=lambda unit: max(each.activations[unit]))
    )
    return {unit: groups[unit] for unit in sorted(groups, key=lambda unit: int(unit.removeprefix("AU")))}


def _by_skin(results: list[ClipResult]) -> Groups:
    """Group results by how dark the skin is; photographs are excluded."""
    drawn = [each for each in results if darkness(each.face) is not None]
    groups = grouped(drawn, lambda each: SKINS[min(int(darkness(each.face) * 3), 2)])
    return {skin: groups[skin] for skin in SKINS if skin in groups}


def _share(results: list[ClipResult], measure: str) -> float:
    return round(sum(map(MEASURES[measure], results)) / len(results), 4)


def _percent(results: list[ClipResult], measure: str) -> str:
    return f"{_share(results, measure):.0%}"


def _table(title: str, first_column: str, groups: Groups, measures: Iterable[str]) -> dict:
    """Return a table with a row for each group and a column for each measure."""
    rows = [
        [name, *(_percent(group, measure) for measure in measures), str(len(group))]
        for name, group in groups.items()
    ]
    return {"title": title, "columns": [first_column, *measures, "clips"], "rows": rows}


def smallest(shares: dict[float, float], wanted: float) -> float | None:
    """Return the motion at which a share is reached, by linear interpolation; None if never."""
    sizes = sorted(shares)
    for small, large in zip([None, *sizes], sizes, strict=False):
        if shares[large] >= wanted:
            if small is None:
                return large
            part = (wanted - shares[small]) / (shares[large] - shares[small])
            return round(small + (large - small) * part, 2)
    return None


def to_json(reported: dict) -> str:
    """Return a report as it is stored: a list of tables, each with title, columns, rows and note."""
    note = reported["tables"][0]["note"]
    rows = [[key.replace("_", " "), _text(value)] for key, value in reported["summary"].items()]
    short = {"title": "In short", "columns": ["", "value"], "rows": rows, "note": note}
    return json.dumps([short, *reported["tables"]], indent=1) + "\n"


def _text(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def format_report(name: str, reported: dict) -> str:
    """Return the summary of a checkpoint as text."""
    lines = [f"  {key.replace('_', ' '):36}{_text(value)}" for key, value in reported["summary"].items()]
    return "\n".join([name, *lines])
