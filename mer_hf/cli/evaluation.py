"""`mer-hf evaluate`, `report`, `measure` and `calibrate`: numbers of a checkpoint or of a run."""

import argparse
import json
import os
from pathlib import Path

from mer_hf.labels import SCHEMES
from mer_hf.utils import bounds
from mer_hf.utils.files import write_text

from .terminal import JSON, MODEL, argument, bar, command, flag, number

CORES = os.cpu_count() or 1
MEAN, PHASES = "mean", ("annotated", "spotted", "midpoint")
CHECKPOINTS = (
    argument("checkpoints", "DIR", "folders of checkpoints", type=Path, nargs="+"),
    argument(
        "--workers", "N", "processes (default: all cores)", type=number(int, bounds.WORKERS), default=CORES
    ),
)
NETWORKS = "a bundled checkpoint (default: htnet), a folder, OWNER/NAME, all or mean; repeat it for several"
CLASSES = f"{', '.join(SCHEMES)} (default: %(default)s)"
FLOWS = "arrays flow (N, 28, 28, 3), label, subject, dataset"


@command(
    argument("--model", "NAME_OR_DIR", NETWORKS, action="append"),
    MODEL[1],
    argument("--flows", "FILE.npz", FLOWS, type=Path),
    argument("--data", "DIR[,DIR]", "folders that mer-hf prepare made"),
    argument("--classes", "SCHEME", CLASSES, default="composite3", choices=SCHEMES),
    argument("--phases", "SOURCE", f"show only these phases: {', '.join(PHASES)}", choices=PHASES),
    flag("--selective", "count what the pipeline does not report as wrong"),
    argument("--csv", "FILE.csv", "with --data: a row per clip and network", type=Path),
    JSON,
    argument("--log", "FILE", "append this look at the data to a file", type=Path),
)
def evaluate(args: argparse.Namespace) -> str:
    """Score networks on prepared recordings, or on ready-made flow maps."""
    if bool(args.flows) == bool(args.data):
        raise ValueError("evaluate needs --data DIR or --flows FILE.npz, one of the two.")
    args.model = args.model or ["htnet"]
    return _evaluate_flows(args) if args.flows else _evaluate_recordings(args)


def _evaluate_flows(args: argparse.Namespace) -> str:
    from mer_hf import loading
    from mer_hf.data.flow_files import read_flow_maps
    from mer_hf.evaluation.evaluate import append_log, evaluate_flow_maps, format_evaluation, look_record

    if len(args.model) > 1 or args.csv or args.selective or args.phases:
        raise ValueError("--flows takes one --model, and no --csv, --phases or --selective.")
    data = read_flow_maps(args.flows)
    model, processor = loading.load(args.model[0], trust_remote_code=args.trust_remote_code)
    result = evaluate_flow_maps(model, processor, data, name=loading.name_of(model))
    if args.log:
        append_log(args.log, look_record(model, data, result))
    return json.dumps(result) if args.json else format_evaluation(result)


def _evaluate_recordings(args: argparse.Namespace) -> str:
    from mer_hf import MicroExpressionPipeline
    from mer_hf.evaluation.recording_scores import evaluate_recordings, format_scores, write_rows
    from mer_hf.evaluation.recordings import Recordings
    from mer_hf.loading import bundled_names

    paths = [Path(part) for part in args.data.split(",")]
    recordings = Recordings(paths, SCHEMES[args.classes])
    names = [name for name in args.model if name != MEAN]
    names = bundled_names() if "all" in names else names or bundled_names()
    options = {"trust_remote_code": args.trust_remote_code}
    pipelines = {name: MicroExpressionPipeline.from_pretrained(name, **options) for name in names}
    with bar("evaluating", "clip") as progress:
        rows, result = evaluate_recordings(
            pipelines, recordings, args.selective, mean=MEAN in args.model, progress=progress
        )
    if args.csv:
        write_rows(args.csv, rows)
    if args.log:
        from mer_hf.evaluation.evaluate import append_log, look

        append_log(args.log, look() | {"data": [path.name for path in paths]} | result)
    return json.dumps(result) if args.json else format_scores(result, args.phases)


@command(argument("run_dir", "RUN_DIR", "the folder of the run", type=Path), JSON)
def report(args: argparse.Namespace) -> str:
    """Compute the report of a run with --protocol from its log."""
    from mer_hf.evaluation.run_report import END_OF_SUMMARY, write_report

    numbers = write_report(args.run_dir)
    if args.json:
        return json.dumps(numbers)
    head = (args.run_dir / "report.md").read_text().split(END_OF_SUMMARY)[0].rstrip()
    return f"{head}\n\nWritten to {args.run_dir / 'report.html'}, report.md and report.json."


@command(
    *CHECKPOINTS,
    argument("--clips", "N", "per row (default: %(default)s)", type=number(int, bounds.MANY), default=40),
    JSON,
)
def measure(args: argparse.Namespace) -> str:
    """Evaluate checkpoints on synthetic clips that no run trains on, from clip to answer."""
    from mer_hf.evaluation import measure as measuring
    from mer_hf.evaluation.clip_results import WITHOUT
    from mer_hf.hub.scores import with_tables
    from mer_hf.utils.provenance import git_commit
    from mer_hf.utils.untrusted import read_text

    commit = (git_commit() or "unknown")[:10]
    seed, clips = measuring.EVALUATION_SEED, measuring.measurement_clips(args.clips)
    note = f"mer-hf measure --clips {args.clips}; seed {seed}, commit {commit}"
    results = _evaluate(args, "measuring", clips, seed)
    names = map(str, args.checkpoints)
    reports = {name: measuring.report(results[name], note, results.get(name + WITHOUT)) for name in names}
    for folder in args.checkpoints:
        measured = measuring.to_json(reports[str(folder)])
        write_text(folder / measuring.FILE, measured)
        card = folder / "README.md"
        if card.is_file():
            write_text(card, with_tables(read_text(card), json.loads(measured)))
    if args.json:
        return json.dumps(reports)
    return "\n".join(measuring.format_report(name, numbers) for name, numbers in reports.items())


@command(
    *CHECKPOINTS,
    argument(
        "--rounds", "N", "of 32 clips (default: %(default)s)", type=number(int, bounds.MANY), default=12
    ),
)
def calibrate(args: argparse.Namespace) -> str:
    """Fit probabilities and the decision that there is an expression, on synthetic clips."""
    from mer_hf.evaluation.calibrate import CALIBRATION_SEED, calibration_clips, fit
    from mer_hf.inference.calibration import FILE
    from mer_hf.utils.provenance import git_commit

    commit = git_commit()  # before the first file that is written here changes the tree
    results = _evaluate(args, "calibrating", calibration_clips(args.rounds), CALIBRATION_SEED)
    record = {"seed": CALIBRATION_SEED, "rounds": args.rounds, "commit": commit}
    lines = []
    for folder in args.checkpoints:
        fitted = fit(results[str(folder)], record)
        write_text(folder / FILE, fitted.to_json())
        before, after = fitted.record["ece_before"], fitted.record["ece_after"]
        lines.append(
            f"{folder / FILE}: temperature {fitted.temperature:.2f}, threshold {fitted.threshold:.2f}, "
            f"calibration error {before:.3f} before, {after:.3f} after"
        )
    return "\n".join(lines)


def _evaluate(args: argparse.Namespace, title: str, clips: list, seed: int) -> dict:
    from mer_hf.evaluation.clip_results import evaluate_clips

    for folder in args.checkpoints:
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is not a checkpoint: it holds no config.json.")
    names = [str(folder) for folder in args.checkpoints]
    with bar(title, "clip") as progress:
        return evaluate_clips(names, clips, seed, args.workers, progress=progress)
