"""`mer-hf spot`: the expressions in minutes of video."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mer_hf.utils.files import replacing

from .terminal import add_model, bar, check_output, positive

if TYPE_CHECKING:
    from mer_hf.inference.long_video import LongVideo

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    spot = commands.add_parser("spot", help="search a long video for expressions (experimental)")
    spot.add_argument("video", type=Path, metavar="VIDEO", help="a video file of any length")
    add_model(spot)
    spot.add_argument("--window", type=positive, metavar="S", help="seconds that are looked at together")
    spot.add_argument("--all", action="store_true", help="list also what is taken for no micro-expression")
    spot.add_argument("--json", action="store_true", help="print one JSON object")
    spot.add_argument("--plot", type=Path, metavar="FILE", help="write a picture of the time line")
    spot.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each interval")
    spot.set_defaults(run=_spot)


def _spot(args: argparse.Namespace) -> str:
    check_output(args.plot, PICTURE_SUFFIXES)
    check_output(args.csv, (".csv",))
    from mer_hf.inference.long_video import OVERLAP_S, WINDOW_S, spot_long, write_intervals_csv
    from mer_hf.inference.pipeline import MicroExpressionPipeline

    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    window_s = args.window or WINDOW_S
    with bar("searching", "s") as show:
        found = spot_long(
            args.video,
            pipeline,
            window_s,
            min(OVERLAP_S, window_s / 2),
            lambda done_s, total_s: show(round(done_s), round(total_s)),
        )
    if args.csv:
        with replacing(args.csv) as temporary:
            write_intervals_csv(temporary, found)
    if args.plot:
        from PIL import Image

        with replacing(args.plot) as temporary:
            Image.fromarray(_picture(found)).save(temporary)
    return found.to_json() if args.json else summary(found, args.all)


def _picture(found: "LongVideo"):
    from mer_hf.visualization.timeline import timeline_picture

    return timeline_picture(
        found.curve_s,
        found.curve,
        [(each.onset_s, each.offset_s, each.label) for each in found.intervals],
        found.labels,
        found.duration_s,
        [(gap.start_s, gap.end_s) for gap in found.gaps],
        found.blinks,
    )


def summary(found: "LongVideo", every: bool = False) -> str:
    """What was found as a table for a reader, and what to know before believing it.

    Args:
        found (`LongVideo`): From `spot_long`.
        every (`bool`, *optional*, defaults to `False`): Whether what is taken for no micro-expression is
            listed too.

    Returns:
        `str`: Without a newline at the end.
    """
    from mer_hf.inference.long_video import LEVEL_OF_THE_ART

    believed = [each for each in found.intervals if each.outcome == "micro_expression"]
    listed = list(found.intervals) if every else believed
    rest = "" if len(listed) == len(found.intervals) else " --all lists the others."
    lines = [
        f"{len(believed)} of {len(found.intervals)} motions in {_clock(found.duration_s)} look like "
        f"micro-expressions to {found.model}; {len(found.blinks)} blinks.{rest}"
    ]
    if listed:
        lines.append(f"{'onset':>10}{'apex':>10}{'offset':>10}  {'label':<22}{'probability':>11}")
    for each in listed:
        likely = each.expression_probability
        lines.append(
            "".join(f"{_clock(at_s):>10}" for at_s in (each.onset_s, each.apex_s, each.offset_s))
            + f"  {each.label or 'no micro-expression':<22}{'-' if likely is None else f'{likely:.2f}':>11}"
        )
    lines += [f"gap      {_clock(gap.start_s)} to {_clock(gap.end_s)}: {gap.reason}" for gap in _long(found)]
    lines += [f"warning  {warning}" for warning in found.warnings]
    return "\n".join([*lines, LEVEL_OF_THE_ART])


def _long(found: "LongVideo") -> list:
    """The gaps worth a line: shorter ones are in the JSON."""
    return [gap for gap in found.gaps if gap.end_s - gap.start_s >= 0.5]


def _clock(at_s: float) -> str:
    """Minutes, seconds and hundredths."""
    hundredths = round(100 * at_s)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
