"""`mer-hf spot`: the expressions in minutes of video."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils import bounds
from mer_hf.utils.files import replacing

from .exports import ARGUMENTS, check_exports, write_exports
from .terminal import FACE, IMAGE_SUFFIXES, JSON, MODEL, argument, bar, check_output, command, flag, number

if TYPE_CHECKING:
    from mer_hf.inference.long_video import Interval, LongVideo

HEADER = f"{'onset':>10}{'apex':>10}{'offset':>10}{'lasts':>8}  {'label':<22}{'probability':>11}"


@command(
    argument("video", "VIDEO", "a video file of any length", type=Path),
    *MODEL,
    argument("--window", "S", "seconds that are searched together", type=number(float, bounds.WINDOW_S)),
    FACE,
    flag("--all", "list motions that are not expressions as well"),
    JSON,
    argument("--plot", "FILE", "write a picture of the time line", type=Path),
    argument("--csv", "FILE", "write a row for each interval", type=Path),
    *ARGUMENTS,
)
def spot(args: argparse.Namespace) -> str:
    """Search a long video for expressions (experimental)."""
    check_output(args.plot, IMAGE_SUFFIXES)
    check_output(args.csv, (".csv",))
    check_exports(args)
    from mer_hf.inference.long_video import OVERLAP_S, WINDOW_S, spot_long, write_intervals_csv
    from mer_hf.inference.pipeline import MicroExpressionPipeline

    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    window_s = args.window or WINDOW_S
    overlap_s = min(OVERLAP_S, window_s / 2)
    with bar("searching", "s") as show:
        video = spot_long(
            args.video,
            pipeline,
            window_s,
            overlap_s,
            progress=lambda *seconds: show(*map(round, seconds)),
            face=args.face,
            frame_units=args.openface is not None,
        )
    _export(args, video)
    if args.csv:
        write_intervals_csv(args.csv, video)
    if args.plot:
        _write_plot(args.plot, video)
    return video.to_json() if args.json else summary(video, args.all)


def _export(args: argparse.Namespace, video: "LongVideo") -> None:
    """Write the answer for other programs."""
    from mer_hf.interchange.coding import Coding
    from mer_hf.interchange.openface import FrameUnits

    each = enumerate(sorted(video.frame_units.items(), key=lambda item: item[0]))
    rows = (FrameUnits(frame, time_s, units, args.face or 1) for frame, (time_s, units) in each)
    write_exports(args, lambda: Coding.of(video, args.video), rows)


def _write_plot(path: Path, video: "LongVideo") -> None:
    from PIL import Image

    from mer_hf.visualization.figures import timeline_picture

    intervals = [(interval.onset_s, interval.offset_s, interval.label) for interval in video.intervals]
    gaps = [(gap.start_s, gap.end_s) for gap in video.gaps]
    picture = timeline_picture(
        video.curve_s, video.curve, intervals, video.labels, video.duration_s, gaps, video.blinks
    )
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary)


def summary(video: "LongVideo", every: bool = False) -> str:
    """Write the intervals as a table for a reader, all motions or the expressions only, and the warnings."""
    from mer_hf.inference.long_video import LEVEL_OF_THE_ART
    from mer_hf.inference.pipeline import REPORTED

    expressions = [interval for interval in video.intervals if interval.outcome in REPORTED]
    brief = sum(interval.outcome == REPORTED[0] for interval in expressions)
    listed = video.intervals if every else expressions
    rest = "" if len(listed) == len(video.intervals) else " --all lists the others."
    lines = [
        f"{len(expressions)} of {len(video.intervals)} motions in {clock(video.duration_s)} look like "
        f"expressions to {video.model} (micro-expressions: {brief}, longer: {len(expressions) - brief}); "
        f"{len(video.blinks)} blinks.{rest}"
    ]
    if listed:
        lines.append(HEADER)
    lines += map(row, listed)
    gaps = [gap for gap in video.gaps if gap.end_s - gap.start_s >= 0.5]  # shorter ones are in the JSON
    lines += [f"gap      {clock(gap.start_s)} to {clock(gap.end_s)}: {gap.reason}" for gap in gaps]
    lines += [f"warning  {warning}" for warning in video.warnings]
    return "\n".join([*lines, LEVEL_OF_THE_ART])


def row(interval: "Interval") -> str:
    """Write an interval as a row below `HEADER`."""
    seconds = (interval.onset_s, interval.apex_s, interval.offset_s)
    probability = interval.expression_probability
    number = "-" if probability is None else f"{probability:.2f}"
    label = interval.label or interval.outcome.replace("_", " ")
    lasts = f"{interval.duration_s:6.2f} s"
    return "".join(f"{clock(at_s):>10}" for at_s in seconds) + f"{lasts}  {label:<22}{number:>11}"


def clock(at_s: float) -> str:
    """Write minutes, seconds and hundredths."""
    hundredths = round(100 * at_s)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
