"""`mer-hf watch`: the expressions of a camera, a file in real time or a stream, as they end."""

import argparse
import contextlib
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .exports import CODING_ARGUMENTS, OVERWRITE, check_exports, write_exports
from .spot import HEADER, clock, row
from .terminal import (
    ALL,
    MODEL,
    argument,
    check_output,
    command,
    counted,
    flag,
    number,
    on_signal,
    visible_stderr,
)

if TYPE_CHECKING:
    from mer_hf.inference.live import Background, Update
    from mer_hf.inference.long_video import LongVideo
    from mer_hf.interchange.coding import Coding
    from mer_hf.video.sources import Frames

SOURCE = "number of a camera (default: %(default)s), a video file, or rtsp://, http:// of a video stream"

ENDING = signal.SIGINT, signal.SIGTERM


@command(
    argument("source", "SOURCE", SOURCE, nargs="?", default="0"),
    *MODEL,
    argument("--duration", "S", "end after S seconds (default: Ctrl-C)", type=number(float, (0.1, 1e7))),
    ALL,
    flag("--json", "print one JSON object a line: each movement as it ends, and the counts at the end"),
    argument("--record", "FILE", "write the video as mp4 (H.264); otherwise no picture is kept", type=Path),
    *CODING_ARGUMENTS,
    OVERWRITE,
)
def watch(args: argparse.Namespace) -> str:
    """Watch a camera, a file in real time or a stream, and print expressions as they end (experimental)."""
    check_output(args.record, (".mp4",))
    check_exports(args)
    from mer_hf import MicroExpressionPipeline
    from mer_hf.inference.live import Background, Live
    from mer_hf.video.sources import open_live

    frames = open_live(args.source)
    pipeline = MicroExpressionPipeline.from_pretrained(args.model, trust_remote_code=args.trust_remote_code)
    work = Background(Live(pipeline))
    with contextlib.ExitStack() as stack:
        for each in ENDING:
            stack.enter_context(on_signal(each, _end))
        note = _watch(args, frames, work, stack)
        write_exports(args, lambda: _coding(args, work.live.result()))
    return _summary(work, note, args.json)


def _end(*_) -> None:
    """End the watching at the first Ctrl-C or request to end; what comes at once after it has no effect."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _coding(args: argparse.Namespace, found: "LongVideo") -> "Coding":
    """Take what was found as a coding of the recording, or of the whole file that was watched."""
    from mer_hf.interchange.coding import Coding
    from mer_hf.video.clip import FrameSource
    from mer_hf.video.sources import name_of

    if not args.record and Path(args.source).is_file():
        found = replace(found, duration_s=max(found.duration_s, FrameSource(args.source).duration_s))
    return Coding.of(found, args.record or name_of(args.source))


def _watch(
    args: argparse.Namespace, frames: "Frames", work: "Background", afterwards: contextlib.ExitStack
) -> str:
    """Watch until the end, or until somebody ends it; return why the source broke off.

    From then on Ctrl-C has no effect, until `afterwards` ends: what was found is being written.
    """
    from mer_hf.video.container import ClipError
    from mer_hf.video.sources import recording

    note = ""
    with contextlib.ExitStack() as stack:
        keep = stack.enter_context(recording(args.record)) if args.record else None
        file = stack.enter_context(visible_stderr())
        screen = _Screen(args, work, file if file.isatty() else None)
        stack.callback(screen.write, "")
        try:
            for image, time_s in frames:
                if args.duration and time_s >= args.duration:
                    break
                work.offer(image, time_s)
                if keep:
                    keep(image, time_s)
                screen.show(work.news())
        except KeyboardInterrupt:
            pass
        except ClipError as error:
            note = str(error)
        afterwards.enter_context(on_signal(signal.SIGINT, signal.SIG_IGN))
        screen.show(work.close())
    return note


class _Screen:
    """Lines of what has ended, and below them on a terminal a line that changes."""

    def __init__(self, args: argparse.Namespace, work: "Background", terminal) -> None:
        self.every, self.json, self.work, self.terminal = args.all, args.json, work, terminal
        self.came, self.at_s, self.headed = 0, 0.0, args.json

    def show(self, updates: "list[Update]") -> None:
        """Print what is new."""
        from mer_hf.inference.pipeline import REPORTED

        for update in updates:
            for event in update.events:
                if self.every or event.interval.outcome in REPORTED:
                    self._print(update, event.interval)
            self._status(update)

    def _print(self, update: "Update", interval) -> None:
        self.write("")
        if self.json:
            print(json.dumps(interval.to_dict() | {"told_s": round(update.time_s, 4)}), flush=True)
            return
        if not self.headed:
            print(HEADER)
            self.headed = True
        units = " ".join(interval.action_units)
        print(f"{row(interval)}  {units}".rstrip(), flush=True)

    def _status(self, update: "Update") -> None:
        pace = self.work.pace
        came, span_s = pace.taken + pace.dropped, update.time_s - self.at_s
        rate = (came - self.came) / span_s if span_s > 0.1 else 0.0
        self.came, self.at_s = came, update.time_s
        every = f" (1 of {pace.every} is taken)" if pace.every > 1 else ""
        motion = f", motion {update.curve[-1]:.1f} px" if len(update.curve) else ""
        line = f"{clock(update.time_s)}  {rate:.0f} frames/s, {pace.dropped} dropped{every}"
        self.write(f"{line}, face: {update.face}{motion}")

    def write(self, line: str) -> None:
        """Put a text in place of the changing line."""
        if self.terminal:
            self.terminal.write(f"\r{line}\x1b[K")
            self.terminal.flush()


def _summary(work: "Background", note: str, as_json: bool) -> str:
    from mer_hf.inference.long_video import LEVEL_OF_THE_ART
    from mer_hf.inference.pipeline import REPORTED

    found, pace = work.live.result(), work.pace
    reported = [one for one in found.intervals if one.outcome in REPORTED]
    counts = {
        "duration_s": round(found.duration_s, 4),
        "expressions": len(reported),
        "micro_expressions": sum(one.outcome == REPORTED[0] for one in reported),
        "other_motions": len(found.intervals) - len(reported),
        "blinks": len(found.blinks),
        "frames": pace.taken + pace.dropped,
        "dropped": pace.dropped,
    }
    if lost_s := sum(gap.end_s - gap.start_s for gap in found.gaps):
        seconds = f"{lost_s:.1f} s of it could not be searched ({found.gaps[-1].reason})."
        note = f"{note} {seconds}".strip()
    if as_json:
        return json.dumps(counts | {"note": note})
    lines = [
        f"{clock(found.duration_s)} watched: {counted(counts['expressions'], 'expression')} "
        f"({counted(counts['micro_expressions'], 'micro-expression')}), "
        f"{counted(counts['other_motions'], 'other motion')}, {counted(counts['blinks'], 'blink')}; "
        f"{counted(counts['frames'], 'frame')}, {counts['dropped']} dropped."
    ]
    return "\n".join([*lines, *([f"warning  {note}"] if note else []), LEVEL_OF_THE_ART])
