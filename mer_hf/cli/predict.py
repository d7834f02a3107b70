"""`mer-hf predict`: one clip, or every clip of a folder."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils import bounds
from mer_hf.utils.files import replacing, write_picture

from . import terminal
from .exports import ARGUMENTS, MANY, check_exports, check_many, run_many, write_exports
from .terminal import FACE, IMAGE_SUFFIXES, JSON, MODEL, argument, bar, check_output, command, flag, number

if TYPE_CHECKING:
    from mer_hf.face.tracking import FaceTrack
    from mer_hf.inference.ahead import TrackedClip
    from mer_hf.inference.pipeline import MicroExpressionPipeline, Prediction

PHASES = ("onset", "apex", "offset")
UNITS = "estimated (default), none, or a person's annotation such as AU4,L12 (L12: the left side only)"
OUTPUTS = {
    "npz": ((".npz",), "write curve, relevance and faces"),
    "overlay": (IMAGE_SUFFIXES, "write a picture: relevance on the face"),
    "replay": ((".mp4",), "write the slowed replay: the face beside its magnified motion"),
    "report": ((".html", ".htm"), "write a report in one file that opens offline, with pictures and replay"),
    "curve": ((".csv",), "write the motion curve as a table, one row per frame"),
}
"""Flag of a file that one clip gives -> its suffixes and its contents."""


@command(
    argument("clip", "CLIP", "a video or a folder of frames; with --out a folder of clips", type=Path),
    *MODEL,
    *(argument(f"--{name}", "FRAME", "0-based index, or a frame's file name") for name in PHASES),
    argument("--fps", "F", "of a folder of frames, or of slow motion", type=number(float, bounds.FPS)),
    argument("--action-units", "AUS", UNITS, default="estimated"),
    flag("--single-apex", "ask with the apex alone, not with several frames around it"),
    FACE,
    argument("--faces", "all", "give an answer for every face (--json: a list)", choices=["all"]),
    JSON,
    *(argument(f"--{name}", "FILE", about, type=Path) for name, (_, about) in OUTPUTS.items()),
    *ARGUMENTS,
    *MANY,
)
def predict(args: argparse.Namespace) -> str:
    """Analyse a clip of a face, or all clips of a folder."""
    terminal.check_input(args.clip)
    if args.out:
        return _predict_many(args)
    for name, (suffixes, _) in OUTPUTS.items():
        check_output(getattr(args, name), suffixes)
    check_exports(args)
    options = {name: getattr(args, name) for name in (*PHASES, "fps")}
    options["action_units"] = _action_units(args.action_units)
    options["average"] = not args.single_apex
    from mer_hf.inference.ahead import tracked_ahead

    # Python would run the script of a caller once more in another process.
    ahead = tracked_ahead(args.clip, args.model, args.fps, args.face) if args.own_process else None
    from mer_hf import MicroExpressionPipeline

    _refuse_several(args.clip)
    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    clip = (ahead and ahead(pipeline.geometry)) or args.clip
    if args.faces:
        return _predict_faces(args, clip, pipeline, options)
    options["face"] = args.face
    with bar("searching", "s") as progress:
        prediction, track = pipeline.with_track(clip, **options, progress=progress)
    _write_files(args, prediction, track)
    _export(args, [(prediction, track)])
    return prediction.to_json() if args.json else summary(prediction)


def _refuse_several(folder: Path) -> None:
    from mer_hf.inference.bulk import find_clips

    if folder.is_dir() and next(find_clips(folder), ".") != ".":
        raise ValueError(
            f"{folder} holds several clips. Add --out predictions.parquet (or .csv), or name one."
        )


def _predict_faces(
    args: argparse.Namespace, clip: "Path | TrackedClip", pipeline: "MicroExpressionPipeline", options: dict
) -> str:
    """Answer for every face of one clip; a face that cannot be analysed says why."""
    for name in ("face", *OUTPUTS):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for one face, --faces for all. Leave one of them out.")
    from mer_hf.face.tracking import FaceError

    with bar("searching", "s") as progress:
        largest, track = pipeline.with_track(clip, **options, progress=progress)
    values, texts, tracked = [], [], []
    for face, box in enumerate(largest.faces, 1):
        found = largest, track
        try:
            if face != largest.face:
                found = pipeline.with_track(args.clip, face=face, **options)
        except FaceError as error:
            values.append({"face": face, "box": box, "error": str(error)})
            texts.append(f"{_face_line(face, largest.faces)}\n{'error':<8}{error}")
            continue
        tracked.append(found)
        values.append(found[0].to_dict())
        texts.append(summary(found[0]))
    _export(args, tracked)
    return json.dumps(values) if args.json else "\n\n".join(texts)


def _export(args: argparse.Namespace, answers: "list[tuple[Prediction, FaceTrack]]") -> None:
    """Write the answers to one clip, one for each face, for other programs."""
    from mer_hf.interchange.coding import Coding, joined
    from mer_hf.interchange.openface import rows_of

    rows = (row for prediction, track in answers for row in rows_of(prediction, track))
    write_exports(args, lambda: joined([Coding.of(answer, args.clip) for answer, _ in answers]), rows)


def _write_files(args: argparse.Namespace, prediction: "Prediction", track: "FaceTrack") -> None:
    """Write the requested files, each whole or not at all."""
    if args.npz:
        import numpy as np

        with replacing(args.npz) as temporary:
            np.savez_compressed(temporary, **prediction.arrays())
    if args.overlay:
        from mer_hf.visualization.figures import overlay_picture

        write_picture(args.overlay, overlay_picture(prediction.apex_face, prediction.apex_relevance))
    if args.curve:
        from mer_hf.visualization.report import write_curve_csv

        write_curve_csv(args.curve, prediction)
    if args.replay or args.report:
        from mer_hf.utils.provenance import sha256_of
        from mer_hf.visualization.replay import write_replay
        from mer_hf.visualization.report import html_report

        with tempfile.TemporaryDirectory() as folder:
            replay = args.replay or Path(folder) / "replay.mp4"
            write_replay(replay, track, prediction)
            if args.report:
                sha256 = sha256_of(args.clip) if args.clip.is_file() else ""
                html_report(args.report, prediction, replay, args.clip.resolve().name, sha256)


def _predict_many(args: argparse.Namespace) -> str:
    settings = check_many(args, (*PHASES, "face", "faces", *OUTPUTS))
    from mer_hf.inference.bulk import BulkRun

    options = {"fps": args.fps, "action_units": _action_units(args.action_units)}
    return run_many(args, BulkRun(args.clip, args.out, options=options, **settings), "predicting")


def _action_units(text: str) -> str | list[str] | None:
    """Parse `estimated`, `none`, or a list of names."""
    if text in ("estimated", "none"):
        return None if text == "none" else text
    return [name.strip() for name in text.split(",")]


def summary(prediction: "Prediction") -> str:
    """Write a prediction as a few lines for a reader."""
    answer = prediction.to_dict()
    verdict = answer["outcome"].replace("_", "-" if answer["label"] else " ")
    if answer["label"]:
        verdict += f": {answer['label']} ({answer['scores'][answer['label']]:.0%})"
    lines = [("verdict", verdict)]
    for name in PHASES:
        frame, seconds = answer["phases"][name], answer["phases"][f"{name}_s"]
        if frame is not None:
            lines.append((name, f"frame {frame}" + ("" if seconds is None else f" at {seconds:.3f} s")))
    lasts_s, size_px = answer["duration_s"], answer["size_px"]
    if size_px is not None:
        lasts = "" if lasts_s is None else f"lasts {lasts_s:.2f} s, "
        lines.append(("motion", f"{lasts}{size_px:.1f} px at an interocular distance of 60"))
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in answer["timings_s"].items())
    lines += [
        ("phases", f"{answer['phases']['source']}, of {len(prediction.phases.curve)} frames"),
        ("scores", "  ".join(f"{name} {score:.3f}" for name, score in answer["scores"].items())),
        ("AUs", f"{_present_units(answer['action_units'])} ({answer['action_units_source']})"),
        ("model", answer["model"]),
        ("took", f"{sum(answer['timings_s'].values()):.2f} s ({stages})"),
        *(("warning", warning) for warning in answer["warnings"]),
    ]
    several = [_face_line(prediction.face, prediction.faces)] if len(prediction.faces) > 1 else []
    return "\n".join([*several, *(f"{name:<8}{text}" for name, text in lines)])


def _face_line(face: int, faces: tuple) -> str:
    left, top, right, bottom = faces[face - 1]
    return f"{'face':<8}{face} of {len(faces)} from the left: x {left} to {right}, y {top} to {bottom}"


def _present_units(units: dict) -> str:
    """List the action units that are present, strongest first, with the side where it is one side."""
    from mer_hf.face.action_units import present_units

    shown = []
    for name, (left, right) in sorted(present_units(units).items(), key=lambda item: -max(item[1])):
        side = "" if min(left, right) >= 0.5 * max(left, right) else " left" if left > right else " right"
        shown.append(f"{name}{side} {max(left, right):.2f}")
    return ", ".join(shown) or "none"
