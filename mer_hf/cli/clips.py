"""`mer-hf calibrate` and `measure`: how sure a checkpoint is, and what it makes of synthetic clips."""

import argparse
import json
import os
from pathlib import Path

from mer_hf.utils.files import replacing

from .terminal import bar


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_calibrate(commands)
    _add_measure(commands)


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    calibrate = commands.add_parser(
        "calibrate", help="fit probabilities and the decision that there is an expression, on synthetic clips"
    )
    _add_checkpoints(calibrate)
    calibrate.add_argument(
        "--rounds", type=_count, default=25, metavar="N", help="of 20 clips each (default: %(default)s)"
    )
    calibrate.set_defaults(run=_calibrate)


def _add_measure(commands: argparse._SubParsersAction) -> None:
    measure = commands.add_parser(
        "measure", help="evaluate checkpoints on synthetic clips that no run trains on, from clip to answer"
    )
    _add_checkpoints(measure)
    measure.add_argument(
        "--clips", type=_count, default=40, metavar="N", help="for each row of a table (default: %(default)s)"
    )
    measure.add_argument("--json", action="store_true", help="print one JSON object")
    measure.set_defaults(run=_measure)


def _add_checkpoints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="DIR", help="folders of checkpoints")
    parser.add_argument(
        "--workers",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one per core)",
    )


def _count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _calibrate(args: argparse.Namespace) -> str:
    from mer_hf.evaluation.calibrate import CALIBRATION_SEED, calibration_clips, fit
    from mer_hf.inference.calibration import FILE
    from mer_hf.utils.provenance import git_commit

    commit = git_commit()  # before the first file that is written here changes the tree
    results = _evaluate(args, "calibrating", calibration_clips(args.rounds), CALIBRATION_SEED)
    lines = []
    for folder in args.checkpoints:
        record = {"seed": CALIBRATION_SEED, "rounds": args.rounds, "commit": commit}
        fitted = fit(results[str(folder)], record)
        with replacing(folder / FILE) as temporary:
            temporary.write_text(fitted.to_json())
        before, after = fitted.record["ece_before"], fitted.record["ece_after"]
        lines.append(
            f"{folder / FILE}: temperature {fitted.temperature:.2f}, threshold {fitted.threshold:.2f}, "
            f"calibration error {before:.3f} before, {after:.3f} after"
        )
    return "\n".join(lines)


def _measure(args: argparse.Namespace) -> str:
    from mer_hf.evaluation.clip_results import WITHOUT
    from mer_hf.evaluation.measure import (
        EVALUATION_SEED,
        FILE,
        format_report,
        measurement_clips,
        report,
        to_json,
    )
    from mer_hf.hub.scores import with_tables
    from mer_hf.utils.provenance import git_commit

    commit = (git_commit() or "unknown")[:10]
    note = f"mer-hf measure --clips {args.clips}; seed {EVALUATION_SEED}, commit {commit}"
    results = _evaluate(args, "measuring", measurement_clips(args.clips), EVALUATION_SEED)
    names = map(str, args.checkpoints)
    reported = {name: report(results[name], note, results.get(name + WITHOUT)) for name in names}
    for folder in args.checkpoints:
        measured = to_json(reported[str(folder)])
        with replacing(folder / FILE) as temporary:
            temporary.write_text(measured)
        card = folder / "README.md"
        if card.is_file():
            text = with_tables(card.read_text(encoding="utf-8"), json.loads(measured))
            with replacing(card) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if args.json:
        return json.dumps(reported)
    return "\n".join(format_report(name, each) for name, each in reported.items())


def _evaluate(args: argparse.Namespace, title: str, tests: list, seed: int) -> dict:
    from mer_hf.evaluation.clip_results import evaluate_clips

    for folder in args.checkpoints:
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is not a checkpoint: it holds no config.json.")
    with bar(title, "clip") as progress:
        names = [str(folder) for folder in args.checkpoints]
        return evaluate_clips(names, tests, seed, args.workers, progress=progress)
