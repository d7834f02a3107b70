"""Precision, recall and side per action unit on faces that the estimate was not fitted on.

python -m benchmarks action_units

python -m benchmarks.action_units --size 600     # the tables of docs/action-units.md
"""

import argparse
import math

from benchmarks.action_unit_scores import HELD_OUT_SEED, SETTINGS, SHOWN, evaluate_action_units


def run() -> dict:
    """What `make bench` records.

    Returns:
        `dict`: `<setting>: <AU> <figure>` -> number; figures that no clip gives are left out.
    """
    result = {}
    for setting, rows in evaluate_action_units().items():
        for name, figures in rows.items():
            for figure, value in figures.items():
                if not math.isnan(value):
                    result[f"{setting}: {name} {figure}"] = round(value, 3)
    return result


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200, help="clips per setting (default: 200)")
    result = evaluate_action_units(parser.parse_args().size)
    print(f"seed {HELD_OUT_SEED}")
    for figures in (("precision", "recall"), ("recall_0.5_px", "recall_1_px", "recall_2_px"), ("side",)):
        print(
            f"\n| {' / '.join(figures)} | "
            + " | ".join(SETTINGS)
            + " |\n"
            + "|---" * (len(SETTINGS) + 1)
            + "|"
        )
        for name in SHOWN:
            cells = (" / ".join(_text(result[s][name][figure]) for figure in figures) for s in SETTINGS)
            print(f"| {name} | " + " | ".join(cells) + " |")
        means = (" / ".join(_text(_mean(result[s], figure)) for figure in figures) for s in SETTINGS)
        print("| mean | " + " | ".join(means) + " |")
    for kind in ("still faces", "blinks"):
        print(
            f"\n{kind}, clips with a false alarm: ", {s: _text(row["any"]) for s, row in result[kind].items()}
        )
        for setting, row in result[kind].items():
            print("  ", setting, {name: _text(value) for name, value in row.items() if value > 0.02})
    for setting in (name for name in result if name.startswith("pipeline")):
        print(f"\n{setting}, precision / recall, where not both 1.00")
        rows = {n: f"{_text(r['precision'])} / {_text(r['recall'])}" for n, r in result[setting].items()}
        print("  ", {name: row for name, row in rows.items() if row != "1.00 / 1.00"})


def _mean(rows: dict[str, dict[str, float]], figure: str) -> float:
    values = [row[figure] for row in rows.values() if not math.isnan(row[figure])]
    return sum(values) / len(values) if values else math.nan


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


if __name__ == "__main__":
    main()
