"""Search of many long videos into one table with a row per event; resumed as a bulk prediction is."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mer_hf.face.action_units import VOCABULARY

from .bulk import SAME_COLUMNS, BulkRun, attempt, export
from .long_video import Interval, spot_long
from .pipeline import MicroExpressionPipeline

SECONDS = ("onset_s", "apex_s", "offset_s", "duration_s", "peak_px", "expression_probability")


@dataclass
class SpotRun(BulkRun):
    """Search of every video of a folder. A video that was interrupted is searched again from its start.

    Args:
        options (`dict`, *optional*): Further arguments of `spot_long`, for every video.
        progress (`Callable[[float, float], object]`, *optional*): As in `spot_long`, for each video.
    """

    progress: Callable[[float, float], object] | None = None

    def _function(self) -> Callable[..., dict[str, Any]]:
        return spot_part

    def _part(self, path: Path) -> dict[str, Any]:
        return spot_part(self.pipeline, path, self.options, self._exports(path), self.progress)

    def _rows_of(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a row for each event; a video without one has a row that says so."""
        events = part.pop("events", [])
        if part["status"] == "failed":
            return [part]
        return [part | event for event in events] or [part | {"status": "empty"}]

    def _columns(self) -> dict[str, str]:
        classes = self.pipeline.model.config.id2label.values()
        return {
            **dict.fromkeys(("path", "status", "reason"), "string"),
            "person": "int64",
            **dict.fromkeys(("outcome", "label"), "string"),
            **dict.fromkeys((*SECONDS, *(f"score_{name}" for name in classes), *VOCABULARY), "float64"),
            "video_s": "float64",
            **SAME_COLUMNS,
        }


def spot_part(
    pipeline: MicroExpressionPipeline,
    path: Path,
    options: dict[str, Any],
    exports: Mapping[str, Path] = MappingProxyType({}),
    progress: Callable[[float, float], object] | None = None,
) -> dict[str, Any]:
    """Search one video, write its exports, and return its events; any error becomes the reason."""

    def answered() -> dict[str, Any]:
        video = spot_long(path, pipeline, **options, progress=progress)
        notes = [*video.warnings, export(video, path, exports)]
        return {
            "status": "ok",
            "events": [_event_columns(interval) for interval in video.intervals],
            "video_s": video.duration_s,
            "warnings": " | ".join(filter(None, notes)),
        }

    return attempt(path, answered)


def _event_columns(interval: Interval) -> dict[str, Any]:
    values = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(interval).items()
    }
    return {
        **{name: values[name] for name in ("person", "outcome", "label", *SECONDS)},
        **{f"score_{name}": score for name, score in interval.scores.items()},
        **{name: max(sides) for name, sides in interval.action_units.items()},
    }
