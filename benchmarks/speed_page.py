"""Write docs/speed.md from the newest result file of each benchmark: `python -m benchmarks.speed_page`."""

import re
from pathlib import Path

from benchmarks.__main__ import FOLDER, newest
from benchmarks.floors import PARTS

TEMPLATE = FOLDER / "speed.md.txt"
PAGE = FOLDER.parent / "docs" / "speed.md"

Columns = dict[str, str]
"""End of a result's name -> title of a column; what stands before it names the row."""

STAGES = {
    f"{stage}{end}": title for stage in PARTS for end, title in (("_s", stage), ("_floor_s", "its floor"))
}
_FLOORS = [floor for floors in PARTS.values() for floor in floors]
TABLES: dict[str, dict[str, Columns]] = {
    "floors": {
        "table": {"frames": "frames", **STAGES, "whole_s": "whole", "floors_s": "all floors",
                  "whole_to_floors": "ratio", "s_per_s": "s per s of video", "peak_mb": "peak MB"},
        "parts_table": {f"{floor}_floor_s": floor.replace("_", " ") for floor in _FLOORS},
        "calls_table": {f"{floor}_calls": floor.replace("_", " ") for floor in _FLOORS[2:]},
    },
    "cold_start": {
        "table": {"wall_s": "seconds", "cpu_s": "processor seconds", "to_floor": "times the floor"},
        "packages_table": {"package_s": "seconds"},
    },
    "networks": {
        "table": {"batch32_ratio": "batch 32, times the baseline", "batch32_ratio_lowest": "lowest",
                  "batch32_ratio_highest": "highest", "batch32_clips_per_s": "clips/s",
                  "batch1_ratio": "batch 1, times the baseline", "batch1_ratio_lowest": "lowest",
                  "batch1_ratio_highest": "highest", "batch1_clips_per_s": "clips/s",
                  "batch1_share_of_floor": "share of the floor", "batch1_floor_is": "which is"},
    },
    "number_formats": {
        "table": {"clips_per_s": "clips/s", "speed_up": "times float32", "same_class": "same class",
                  "probability_difference": "difference", "first_call_s": "first call, s",
                  "failed": "failed"},
        "floors_table": {"published_bfloat16_floor_s": "seconds a clip"},
    },
    "training_speed": {
        "table": {"batch": "batch", "step_s": "our step, s", "plain_step_s": "plain step, s",
                  "step_to_plain": "ratio", "draw_s_per_sample": "draw a sample, s",
                  "learn_s_per_sample": "learn from it, s", "draw_to_learn": "ratio"},
    },
    "bulk": {"table": {"workers_1_clips_per_h": "1 process", "workers_2_clips_per_h": "2 processes"}},
    "peers": {"table": {"frames_per_s": "frames a second", "s": "seconds"}},
}  # fmt: skip
"""Benchmark -> tables of its section, by their names in the template."""


def table(result: dict[str, float | str], columns: Columns) -> str:
    """Return a table of the values that have one of these ends; a column without values is left out."""
    rows: dict[str, dict[str, float | str]] = {}
    for name, value in result.items():
        end = max((end for end in columns if name.endswith(f"_{end}")), key=len, default=None)
        if end:
            rows.setdefault(name.removesuffix(f"_{end}"), {})[end] = value
    ends = [end for end in columns if any(end in row for row in rows.values())]
    lines = [["", *(columns[end] for end in ends)], ["---"] * (1 + len(ends))]
    lines += [
        [name.replace("_", " "), *(_text(row.get(end, "")) for end in ends)] for name, row in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: float | str) -> str:
    """Write a number with three digits."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def section(name: str, body: str, folder: Path) -> str:
    """Return a section of the page; nothing where it was not measured."""
    kept = newest(name, folder)
    if kept is None:
        return ""
    result, machine = kept["result"], kept["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}"
    source = f"Measured on {kept['date'][:10]} at commit `{kept['commit'][:10]}`: {where}."
    tables = {title: table(result, columns) for title, columns in TABLES[name].items()}
    return body.format(**{**result, **tables}, source=source)


def page(folder: Path = FOLDER / "results") -> str:
    """Return docs/speed.md."""
    head, *rest = re.split(r"<!-- (\w+) -->\n", TEMPLATE.read_text())
    bodies = dict(zip(rest[::2], rest[1::2], strict=True))
    end = bodies.pop("end")
    return head + "".join(section(name, body, folder) for name, body in bodies.items()) + end


def write() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    write()
