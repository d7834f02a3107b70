"""What a visitor may keep of a result: files that the page writes for one answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mer_hf.visualization.replay import write_replay
from mer_hf.visualization.report import html_report, write_curve_csv

from .engine import Analysis
from .files import new


@dataclass(frozen=True)
class Exports:
    """Files of one result.

    Attributes:
        json, csv, replay, report (`Path`): The prediction, the motion curve, the replay, and one page with
            everything.
    """

    LABELS: ClassVar[tuple[str, ...]] = ("JSON", "CSV", "Replay", "Report")

    json: Path
    csv: Path
    replay: Path
    report: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order of the labels."""
        return self.json, self.csv, self.replay, self.report


def write_exports(analysis: Analysis, name: str) -> Exports:
    """Writes all four, in a folder that is emptied by age.

    Args:
        analysis ([`Analysis`]): Of one clip.
        name (`str`): What the downloads are called.

    Returns:
        [`Exports`]
    """
    prediction = analysis.prediction
    exports = Exports(
        json=new(".json", name),
        csv=new(".csv", name),
        replay=new(".mp4", f"{name}-replay"),
        report=new(".html", name),
    )
    exports.json.write_text(prediction.to_json(indent=1))
    write_curve_csv(exports.csv, prediction)
    write_replay(exports.replay, analysis.track, prediction)
    html_report(exports.report, prediction, exports.replay)
    return exports
