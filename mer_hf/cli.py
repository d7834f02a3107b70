"""The command line: `mer-hf predict`, `evaluate`, `convert`, `prepare`, `report`, `push`, `synth-flows`.

It parses, imports what the command needs, calls it and prints. Mistakes of the user end with exit code 2
and one line on stderr that begins `mer-hf: error:`.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import __version__

if TYPE_CHECKING:
    from .pipeline import Prediction

_kept_stderr: list[int] = []
"""Descriptors of stderr while messages of libraries are kept off it, the latest last."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, the same for every command."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mer-hf: error: {message}. Run {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; building it imports nothing heavy."""
    parser = _Parser(prog="mer-hf", description="Micro-expression recognition.")
    parser.add_argument("--version", action="version", version=f"mer-hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_evaluate(commands)
    _add_convert(commands)
    _add_prepare(commands)
    _add_report(commands)
    _add_synth_flows(commands)
    _add_push(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv (`list[str]`, *optional*): Arguments; those of the process by default.

    Returns:
        `int`: Exit code: 0, or 2 where the user has something to mend, or 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    try:
        with _quiet():
            output = args.run(args)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"mer-hf: error: {message}", file=sys.stderr)
        return 2
    if output:
        print(output)
    return 0


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser("predict", help="analyse a clip of a face, or all clips of a folder")
    predict.add_argument(
        "clip",
        type=Path,
        metavar="CLIP",
        help="a video file, or a folder of numbered frames; with --out a folder of such clips",
    )
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help="predict every clip in CLIP into a .parquet or .csv table"
    )
    predict.add_argument("--overwrite", action="store_true", help="replace the table of --out")
    predict.add_argument("--model", default="htnet", metavar="NAME_OR_DIR", help="default: %(default)s")
    for phase in ("onset", "apex", "offset"):
        predict.add_argument(f"--{phase}", metavar="FRAME", help="0-based index, or a frame's file name")
    predict.add_argument("--fps", type=_positive, metavar="F", help="frames per second of a folder of frames")
    predict.add_argument(
        "--action-units",
        default="estimated",
        metavar="AUS",
        help="what a network that takes them is given: estimated (default), none, or a person's "
        "annotation such as AU4,AU7 (L12 for the left side)",
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object")
    predict.add_argument("--npz", type=Path, metavar="FILE", help="write curve, relevance and faces")
    predict.add_argument(
        "--overlay", type=Path, metavar="FILE", help="write a picture: relevance on the face"
    )
    predict.set_defaults(run=_predict)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser("evaluate", help="score a network on ready-made flow maps")
    evaluate.add_argument("--model", default="htnet", metavar="NAME_OR_DIR", help="default: %(default)s")
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


def _add_convert(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser(
        "convert", help="turn an original checkpoint into a folder for from_pretrained"
    )
    convert.add_argument("architecture", metavar="ARCHITECTURE", help="such as htnet")
    convert.add_argument("original", type=Path, metavar="ORIGINAL.pth", help="the checkpoint")
    convert.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="the folder to write")
    convert.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        type=_field,
        metavar="FIELD=VALUE",
        help="fields of the config that the weights do not show; values in JSON",
    )
    convert.set_defaults(run=_convert)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    prepare = commands.add_parser("prepare", help="align the faces of a data set you have, for training")
    prepare.add_argument(
        "name",
        metavar="NAME",
        help="casme2, samm, smic, casme3, mmew, 4dme, casme, megc2019, or table: your own",
    )
    prepare.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write or go on with"
    )
    prepare.add_argument("--root", type=Path, metavar="DIR", help="the data set as you received it")
    prepare.add_argument(
        "--sheet", type=Path, metavar="FILE", help="its annotation sheet, if it lies elsewhere"
    )
    prepare.add_argument("--list", type=Path, metavar="FILE", help="megc2019: the official list of clips")
    prepare.add_argument("--csv", type=Path, metavar="FILE", help="table: columns path, subject, label, ...")
    prepare.add_argument(
        "--class-map",
        nargs="+",
        default=[],
        metavar="LABEL=CLASS",
        help="table: labels to classes, or a JSON file",
    )
    prepare.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    prepare.set_defaults(run=_prepare)


def _add_report(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser("report", help="compute the report of a run with --protocol from its log")
    report.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder of the run")
    report.add_argument("--json", action="store_true", help="print one JSON object")
    report.set_defaults(run=_report)


def _add_synth_flows(commands: argparse._SubParsersAction) -> None:
    synth = commands.add_parser(
        "synth-flows", help="make a data set of motion maps of people who do not exist"
    )
    synth.add_argument("--subjects", type=int, default=22, metavar="N", help="people (default: %(default)s)")
    synth.add_argument("--seed", type=int, default=0, metavar="S", help="chooses them (default: %(default)s)")
    synth.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    synth.set_defaults(run=_synth_flows)


def _add_push(commands: argparse._SubParsersAction) -> None:
    push = commands.add_parser("push", help="publish a checkpoint on the Hugging Face Hub")
    push.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder")
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--private", action="store_true", help="of a repository that is made")
    push.add_argument("--revision", metavar="TAG", help="a tag for the commit")
    push.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")
    push.set_defaults(run=_push)


def _predict(args: argparse.Namespace) -> str:
    if args.out or args.overwrite:
        return _predict_many(args)
    _check_output(args.npz, (".npz",))
    _check_output(args.overlay, PICTURE_SUFFIXES)
    _refuse_many(args.clip)
    from .pipeline import MicroExpressionPipeline

    pipeline = MicroExpressionPipeline.from_pretrained(args.model)
    frames = {name: getattr(args, name) for name in ("onset", "apex", "offset")}
    prediction = pipeline(args.clip, **frames, fps=args.fps, action_units=_action_units(args.action_units))
    if args.npz:
        import numpy as np

        with _replacing(args.npz) as temporary:
            np.savez_compressed(temporary, **prediction.arrays())
    if args.overlay:
        from PIL import Image

        from .draw import overlay_picture

        with _replacing(args.overlay) as temporary:
            Image.fromarray(overlay_picture(prediction.apex_face, prediction.apex_relevance)).save(temporary)
    return prediction.to_json() if args.json else summary(prediction)


def _refuse_many(path: Path) -> None:
    """Refuses a folder of clips where one clip is wanted."""
    from .bulk import find_clips

    if path.is_dir() and next(find_clips(path), ".") != ".":
        raise ValueError(f"{path} holds several clips. Add --out predictions.parquet (or .csv), or name one.")


def _predict_many(args: argparse.Namespace) -> str:
    for name in ("onset", "apex", "offset", "npz", "overlay"):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for one clip, --out for many. Leave one of them out.")
    if args.out is None:
        raise ValueError("--overwrite is for the table of --out FILE.")
    from .bulk import BulkRun, FirstProcessFailed, format_summary, is_first_process

    options = {"fps": args.fps, "action_units": _action_units(args.action_units)}
    run = BulkRun(args.clip, args.out, args.model, options, args.overwrite)
    try:
        with _bar("predicting", "clip") if is_first_process() else contextlib.nullcontext() as progress:
            summary = run.work(progress)
    except FirstProcessFailed:
        sys.exit(2)
    if summary is None:
        alone = "WORLD_SIZE" not in os.environ
        return f"Nothing is left to do here; others are at work for {args.out}." if alone else ""
    if args.json:
        return json.dumps(summary)
    return f"{format_summary(summary)}\nWritten to {args.out}."


def _action_units(text: str) -> str | list[str] | None:
    """`estimated`, `none`, or a list of names."""
    if text in ("estimated", "none"):
        return None if text == "none" else text
    return [name.strip() for name in text.split(",")]


def _evaluate(args: argparse.Namespace) -> str:
    from . import registry
    from .data.flow_maps import read_flow_maps
    from .evaluation.flow_maps import append_log, evaluate_flow_maps, format_evaluation, look_record

    data = read_flow_maps(args.flows)
    model, processor = registry.load(args.model)
    result = evaluate_flow_maps(model, processor, data, name=args.model)
    if args.log:
        append_log(args.log, look_record(model, data, result))
    return json.dumps(result) if args.json else format_evaluation(result)


def _convert(args: argparse.Namespace) -> str:
    from .registry import ARCHITECTURES

    if args.architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {args.architecture!r}. Choose one of {', '.join(ARCHITECTURES)}."
        )
    converter = importlib.import_module(ARCHITECTURES[args.architecture].convert_module)
    notes = converter.convert(args.original, args.out_dir, dict(args.config))
    return "\n".join([*notes, f"Written to {args.out_dir}."])


def _prepare(args: argparse.Namespace) -> str:
    from .data.prepare import format_report, prepare
    from .data.readers import READERS
    from .data.table_reader import read_class_map, read_user_table

    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}.")
    if args.name == "table":
        if args.csv is None:
            raise ValueError("prepare table needs --csv FILE.")
        about = {"name": "table", "title": args.csv.name}
        findings = read_user_table(args.csv, read_class_map(args.class_map) if args.class_map else None)
    elif args.name in READERS:
        if args.root is None:
            raise ValueError(f"prepare {args.name} needs --root DIR, the data set as you received it.")
        reader = READERS[args.name]
        about = {"name": reader.name, "title": reader.title, "published": reader.published}
        findings = reader.read(args.root, args.sheet, args.list)
    else:
        raise ValueError(f"there is no reader {args.name!r}. Choose from {', '.join(READERS)}, table.")
    with _bar("preparing", "clip") as progress:
        report = prepare(findings, args.out, workers=args.workers, progress=progress, about=about)
    return f"{format_report(report)}\nWritten to {args.out}."


def _report(args: argparse.Namespace) -> str:
    from .evaluation.report import END_OF_SUMMARY, write_report

    numbers = write_report(args.run_dir)
    if args.json:
        return json.dumps(numbers)
    head = (args.run_dir / "report.md").read_text().split(END_OF_SUMMARY)[0].rstrip()
    return f"{head}\n\nWritten to {args.run_dir / 'report.html'}, report.md and report.json."


@contextlib.contextmanager
def _bar(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the stderr that the user sees, which `_quiet` has put aside."""
    from tqdm.auto import tqdm

    with (
        open(os.dup(_seen_stderr()), "w") as seen,
        tqdm(desc=title, unit=unit, file=seen, leave=False) as bar,
    ):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _seen_stderr() -> int:
    """Descriptor of the stderr that the process was started with."""
    return _kept_stderr[-1] if _kept_stderr else 2


def _push(args: argparse.Namespace) -> str:
    from .hub.push import push

    with open(os.dup(_seen_stderr()), "w") as seen, contextlib.redirect_stderr(seen):
        options = {"private": args.private, "revision": args.revision, "dry_run": args.dry_run}
        return str(push(args.checkpoint, args.repo_id, **options))


def _synth_flows(args: argparse.Namespace) -> str:
    _check_output(args.out, (".npz",))
    if not 0 <= args.seed < 2**31:
        raise ValueError(f"--seed must lie in 0 to {2**31 - 1}, got {args.seed}.")
    from .data.flow_maps import FlowMaps, write_flow_maps
    from .synthetic.people import draw_people

    with _bar("drawing", "subject") as progress:
        data = FlowMaps(**draw_people(args.subjects, args.seed, progress))
    write_flow_maps(args.out, data)
    counts = ", ".join(f"{name} {count}" for name, count in data.table().counts().items())
    return f"{len(data)} maps of {args.subjects} subjects ({counts}) written to {args.out}."


def summary(prediction: "Prediction") -> str:
    """A prediction as a few lines for a reader.

    Args:
        prediction (`Prediction`): From the pipeline.

    Returns:
        `str`: Without a newline at the end.
    """
    answer = prediction.to_dict()
    verdict = answer["outcome"].replace("_", "-" if answer["label"] else " ")
    if answer["label"]:
        verdict += f": {answer['label']} ({answer['scores'][answer['label']]:.0%})"
    lines = [("verdict", verdict)]
    for name in ("onset", "apex", "offset"):
        frame, seconds = answer["phases"][name], answer["phases"][f"{name}_s"]
        if frame is not None:
            lines.append((name, f"frame {frame}" + ("" if seconds is None else f" at {seconds:.3f} s")))
    lines.append(("phases", f"{answer['phases']['source']}, of {len(prediction.phases.curve)} frames"))
    lines.append(("scores", "  ".join(f"{name} {score:.3f}" for name, score in answer["scores"].items())))
    lines.append(("AUs", _shown_action_units(answer)))
    lines.append(("model", answer["model"]))
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in answer["timings_s"].items())
    lines.append(("took", f"{sum(answer['timings_s'].values()):.2f} s ({stages})"))
    lines += [("warning", warning) for warning in answer["warnings"]]
    return "\n".join(f"{name:<8}{text}" for name, text in lines)


def _shown_action_units(answer: dict) -> str:
    """The action units that are present, strongest first, with the side where it is one; and their source."""
    present = {name: found for name, found in answer["action_units"].items() if found and found[2] >= 0.5}
    shown = []
    for name in sorted(present, key=lambda name: -present[name][2]):
        left, right, intensity = present[name]
        side = "" if min(left, right) >= 0.5 * max(left, right) else " left" if left > right else " right"
        shown.append(f"{name}{side} {intensity:.2f}")
    return f"{', '.join(shown) or 'none'} ({answer['action_units_source']})"


def _positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _field(text: str) -> tuple[str, object]:
    """`field=value` with the value in JSON."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        raise argparse.ArgumentTypeError(
            f"expected a JSON value for {name}, such as 3, [2, 2, 8] or '\"gelu\"', got {value!r}"
        ) from None


def _check_output(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuses a file that cannot be written before the work is done for it."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in one of {', '.join(suffixes)}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the name of a file.")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"the folder {path.parent} is not writable. Choose another.")


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes the place of `path` at the end, so that nobody ever reads half of it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mer-hf-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' own messages off stderr, those of C++ too; what is raised passes through."""
    sys.stderr.flush()
    kept = os.dup(2)
    _kept_stderr.append(kept)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        # Handlers made in here keep the buffer: a file would be closed under them.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _kept_stderr.remove(kept)
        os.dup2(kept, 2)
        os.close(kept)
