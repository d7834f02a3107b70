"""`mer-hf predict`: one clip, or every clip of a folder."""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils.files import replacing

from .terminal import add_model, bar, check_output, positive

if TYPE_CHECKING:
    from mer_hf.face.tracking import FaceTrack
    from mer_hf.inference.pipeline import Prediction

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OUTPUTS = {
    "npz": ((".npz",), "write curve, relevance and faces"),
    "overlay": (PICTURE_SUFFIXES, "write a picture: relevance on the face"),
    "replay": ((".mp4",), "write the slowed replay: the face beside its magnified motion"),
    "report": ((".html", ".htm"), "write a report in one file that opens offline, with pictures and replay"),
    "curve": ((".csv",), "write the motion curve as a table, one row per frame"),
}
"""Flag of a file that one clip gives -> its endings and what is in it."""


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_predict(commands)


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
    add_model(predict)
    for phase in ("onset", "apex", "offset"):
        predict.add_argument(f"--{phase}", metavar="FRAME", help="0-based index, or a frame's file name")
    predict.add_argument("--fps", type=positive, metavar="F", help="frames per second of a folder of frames")
    predict.add_argument(
        "--action-units",
        default="estimated",
        metavar="AUS",
        help="what a network that takes them is given: estimated (default), none, or a person's "
        "annotation such as AU4,AU7 (L12 for the left side)",
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object")
    for name, (_, what) in OUTPUTS.items():
        predict.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    predict.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> str:
    if args.out or args.overwrite:
        return _predict_many(args)
    for name, (suffixes, _) in OUTPUTS.items():
        check_output(getattr(args, name), suffixes)
    _refuse_many(args.clip)
    from mer_hf.inference.pipeline import MicroExpressionPipeline

    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    frames = {name: getattr(args, name) for name in ("onset", "apex", "offset")}
    prediction, track = pipeline.with_track(
        args.clip, **frames, fps=args.fps, action_units=_action_units(args.action_units)
    )
    _write_files(args, prediction, track)
    return prediction.to_json() if args.json else summary(prediction)


def _write_files(args: argparse.Namespace, prediction: "Prediction", track: "FaceTrack") -> None:
    """The files that were asked for; each appears whole or not at all."""
    if args.npz:
        import numpy as np

        with replacing(args.npz) as temporary:
            np.savez_compressed(temporary, **prediction.arrays())
    if args.overlay:
        from PIL import Image

        from mer_hf.visualization.figures import overlay_picture

        with replacing(args.overlay) as temporary:
            Image.fromarray(overlay_picture(prediction.apex_face, prediction.apex_relevance)).save(temporary)
    if args.curve:
        from mer_hf.visualization.report import write_curve_csv

        with replacing(args.curve) as temporary:
            write_curve_csv(temporary, prediction)
    if args.replay or args.report:
        _write_replay_and_report(args, prediction, track)


def _write_replay_and_report(args: argparse.Namespace, prediction: "Prediction", track: "FaceTrack") -> None:
    """The replay is made once: it is also in the report."""
    from mer_hf.visualization.replay import write_replay
    from mer_hf.visualization.report import html_report

    with tempfile.TemporaryDirectory(dir=(args.replay or args.report).parent, prefix=".mer-hf-") as folder:
        replay = Path(folder) / "replay.mp4"
        write_replay(replay, track, prediction)
        if args.report:
            with replacing(args.report) as temporary:
                html_report(temporary, prediction, replay, source=args.clip.resolve().name)
        if args.replay:
            os.replace(replay, args.replay)


def _refuse_many(path: Path) -> None:
    """Refuses a folder of clips where one clip is wanted."""
    from mer_hf.inference.bulk_table import find_clips

    if path.is_dir() and next(find_clips(path), ".") != ".":
        raise ValueError(f"{path} holds several clips. Add --out predictions.parquet (or .csv), or name one.")


def _predict_many(args: argparse.Namespace) -> str:
    for name in ("onset", "apex", "offset", *OUTPUTS):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for one clip, --out for many. Leave one of them out.")
    if args.out is None:
        raise ValueError("--overwrite is for the table of --out FILE.")
    from mer_hf.inference.bulk import BulkRun, FirstProcessFailed, is_first_process
    from mer_hf.inference.bulk_table import format_summary

    options = {"fps": args.fps, "action_units": _action_units(args.action_units)}
    run = BulkRun(args.clip, args.out, args.model, options, args.overwrite, args.trust_remote_code)
    try:
        with bar("predicting", "clip") if is_first_process() else contextlib.nullcontext() as progress:
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
