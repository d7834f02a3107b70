"""Search of many long videos into one table with a row per event; resumed as a bulk prediction is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_hf.face.action_units import VOCABULARY

from .bulk import SAME_COLUMNS, BulkRun
from .long_video import Interval, LongVideo, spot_long
from .pipeline import MicroExpressionPipeline

SECONDS = ("onset_s", "apex_s", "offset_s", "duration_s", "peak_px", "expression_probability")


class SpotRun(BulkRun):
    """Search of every video of a folder, with further arguments of `spot_long` as `options`.

    A video that was interrupted is searched again from its start.

    Attributes:
        progress (`Callable[[float, float], object]`, *optional*): As in `spot_long`, for each video.
    """

    progress: Callable[[float, float], object] | None = None

    def _answer(self, pipeline: MicroExpressionPipeline, path: Path) -> tuple[LongVideo, dict[str, Any]]:
        video = spot_long(path, pipeline, **self.options, progress=self.progress)
        events = [_event_columns(interval) for interval in video.intervals]
        return video, {"status": "ok", "events": events, "video_s": video.duration_s}

    def _rows_of(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a row for each event; a video without one has a row that says so."""
        events = part.pop("events", [])
        if part["status"] == "failed":
            return [part]
        return [part | event for event in events] or [part | {"status": "empty"}]

    def _columns(self) -> dict[str, str]:
        scores = [f"score_{name}" for name in self.pipeline.classes]
        return {
            **dict.fromkeys(("path", "status", "reason"), "string"),
            "person": "int64",
            **dict.fromkeys(("outcome", "label"), "string"),
            **dict.fromkeys((*SECONDS, *scores, *VOCABULARY), "float64"),
            "video_s": "float64",
            **SAME_COLUMNS,
        }


def _event_columns(interval: Interval) -> dict[str, Any]:
    values = interval.to_dict()
    return {
        **{name: values[name] for name in ("person", "outcome", "label", *SECONDS)},
        **{f"score_{name}": score for name, score in interval.scores.items()},
        **{name: max(sides) for name, sides in interval.action_units.items()},
    }
