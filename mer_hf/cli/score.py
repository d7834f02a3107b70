"""`mer-hf evaluate` and `report`: numbers of a network on data, and of a run from its log."""

import argparse
import json
from pathlib import Path

from .terminal import add_model


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_evaluate(commands)
    _add_report(commands)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser("evaluate", help="score a network on ready-made flow maps")
    add_model(evaluate)
    evaluate.add_argument(
        "--flows",
        type=Path,
        required=True,
        metavar="FILE.npz",
        help="arrays flow (N, 28, 28, 3), label, subject, dataset",
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument("--log", type=Path, metavar="FILE", help="append this look at the data to a file")
    evaluate.set_defaults(run=_evaluate)


def _add_report(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser("report", help="compute the report of a run with --protocol from its log")
    report.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")
    report.add_argument("--json", action="store_true", help="print one JSON object")
    report.set_defaults(run=_report)


def _evaluate(args: argparse.Namespace) -> str:
    from mer_hf import loading
    from mer_hf.data.flow_files import read_flow_maps
    from mer_hf.evaluation.evaluate import append_log, evaluate_flow_maps, format_evaluation, look_record

    data = read_flow_maps(args.flows)
    model, processor = loading.load(args.model, trust_remote_code=args.trust_remote_code)
    result = evaluate_flow_maps(model, processor, data, name=loading.name_of(model))
    if args.log:
        append_log(args.log, look_record(model, data, result))
    return json.dumps(result) if args.json else format_evaluation(result)


def _report(args: argparse.Namespace) -> str:
    from mer_hf.evaluation.run_report import END_OF_SUMMARY, write_report

    numbers = write_report(args.run_dir)
    if args.json:
        return json.dumps(numbers)
    head = (args.run_dir / "report.md").read_text().split(END_OF_SUMMARY)[0].rstrip()
    return f"{head}\n\nWritten to {args.run_dir / 'report.html'}, report.md and report.json."
