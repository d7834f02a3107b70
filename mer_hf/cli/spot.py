"""`mer-hf spot`: the expressions in minutes of video."""

import argparse
import contextlib
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils import bounds
from mer_hf.utils.files import write_picture

from . import terminal
from .exports import ARGUMENTS, MANY, check_exports, check_many, run_many, write_exports
from .terminal import ALL, FACE, IMAGE_SUFFIXES, JSON, MODEL, argument, bar, check_output, command, number

if TYPE_CHECKING:
    from mer_hf.inference.long_video import Interval, LongVideo

HEADER = f"{'onset':>10}{'apex':>10}{'offset':>10}{'lasts':>8}  {'label':<22}{'expression':>11}"


@command(
    argument("video", "VIDEO", "a video file of any length; with --out a folder of them", type=Path),
    *MODEL,
    argument("--window", "S", "seconds searched together (default: 4)", type=number(float, bounds.WINDOW_S)),
    FACE,
    argument("--faces", "all", "follow every face, each as a person of its own", choices=["all"]),
    ALL,
    JSON,
    argument("--plot", "FILE", "write a picture of the time line", type=Path),
    argument("--csv", "FILE", "write a row for each interval", type=Path),
    argument("--report", "FILE", "write a page beside the video that opens each moment in it", type=Path),
    *ARGUMENTS,
    *MANY,
)
def spot(args: argparse.Namespace) -> str:
    """Search a long video, or all of a folder, for expressions (experimental)."""
    terminal.check_input(args.video)
    if args.face and args.faces:
        raise ValueError("--face is for one face, --faces for all. Leave one of them out.")
    check_output(args.report, (".html", ".htm"))
    if args.out:
        return _spot_many(args)
    check_output(args.plot, IMAGE_SUFFIXES)
    check_output(args.csv, (".csv",))
    check_exports(args)
    if args.video.is_dir():
        raise ValueError(f"{args.video} is a folder. Add --out events.parquet (or .csv), or name a video.")
    from mer_hf import MicroExpressionPipeline
    from mer_hf.inference.long_video import spot_long, write_intervals_csv
    from mer_hf.interchange.coding import Coding

    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    options = _search_options(args) | {"frame_units": args.openface is not None}
    with bar("searching", "s") as progress:
        video = spot_long(args.video, pipeline, progress=progress, **options)
    write_exports(args, lambda: Coding.of(video, args.video), video.frame_units)
    if args.csv:
        write_intervals_csv(args.csv, video)
    if args.report:
        from mer_hf.visualization.report import SearchedVideo, time_line_report

        time_line_report(args.report, [SearchedVideo.of(args.video, video)])
    if args.plot:
        _write_plot(args.plot, video)
    return video.to_json() if args.json else summary(video, args.all)


def _search_options(args: argparse.Namespace) -> dict:
    from mer_hf.inference.long_video import OVERLAP_S, WINDOW_S

    window_s = args.window or WINDOW_S
    return {"window_s": window_s, "overlap_s": min(OVERLAP_S, window_s / 2), "face": args.faces or args.face}


def _spot_many(args: argparse.Namespace) -> str:
    """Search every video of a folder; a second bar shows how far the present one is."""
    settings = check_many(args, ("plot", "csv"))
    from mer_hf.inference.bulk import RANK
    from mer_hf.inference.bulk_spot import SpotRun

    run = SpotRun(args.video, args.out, options=_search_options(args), **settings)
    with bar("this video", "s") if RANK == 0 else contextlib.nullcontext() as show:
        run.progress = show
        summary = run_many(args, run, "searching")
    if args.report and run.rows:
        from mer_hf.visualization.report import SearchedVideo, time_line_report

        videos = [
            SearchedVideo.of_rows(run.path_of(name), name, list(rows))
            for name, rows in groupby(run.rows, key=lambda row: row["path"])
        ]
        time_line_report(args.report, videos)
    return summary


def _write_plot(path: Path, video: "LongVideo") -> None:
    from mer_hf.visualization.figures import timeline_picture

    intervals = [(one.onset_s, one.offset_s, one.label, one.person) for one in video.intervals]
    gaps = [(gap.start_s, gap.end_s) for gap in video.gaps if len(video.people) < 2]
    parts = (video.labels, video.duration_s, gaps, video.blinks, video.people)
    write_picture(path, timeline_picture(video.curve_s, video.curve, intervals, *parts))


def summary(video: "LongVideo", every: bool = False) -> str:
    """Write the intervals as a table for a reader, all motions or the expressions only, and the warnings."""
    from mer_hf.inference.long_video import LEVEL_OF_THE_ART
    from mer_hf.inference.pipeline import REPORTED

    expressions = [interval for interval in video.intervals if interval.outcome in REPORTED]
    brief = sum(interval.outcome == REPORTED[0] for interval in expressions)
    listed = video.intervals if every else expressions
    rest = "" if len(listed) == len(video.intervals) else " --all lists the others."
    several = len(video.people) > 1
    of = f" of {len(video.people)} people" if several else ""
    lines = [
        f"{len(expressions)} of {len(video.intervals)} motions{of} in {clock(video.duration_s)} look like "
        f"expressions to {video.model} (micro-expressions: {brief}, longer: {len(expressions) - brief}); "
        f"blinks: {len(video.blinks)}.{rest}"
    ]
    if listed:
        lines.append(f"{'person':>6}{HEADER}" if several else HEADER)
    lines += [(f"{one.person:>6}" if several else "") + row(one) for one in listed]
    gaps = [gap for gap in video.gaps if gap.end_s - gap.start_s >= 0.5]  # shorter ones are in the JSON
    for gap in gaps:
        who = f"person {gap.person}: " if several else ""
        lines.append(f"gap      {clock(gap.start_s)} to {clock(gap.end_s)}: {who}{gap.reason}")
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
