"""What a visitor may keep of a result: files that the page writes for one answer."""

from pathlib import Path

from mer_hf.interchange import openface
from mer_hf.visualization.replay import write_replay
from mer_hf.visualization.report import html_report, write_curve_csv

from .engine import Analysis
from .files import new
from .visitors import Turns

LABELS = ("JSON", "CSV", "Replay", "Report")
LONG_FRAMES = 150
TURNS = Turns(2)


def write_exports(analysis: Analysis, name: str) -> dict[str, Path]:
    """Write prediction, motion curve, replay and one page with everything; return them by their labels."""
    prediction = analysis.prediction
    paths = [new(".json", name), new(".csv", name), new(".mp4", f"{name}-replay"), new(".html", name)]
    files = dict(zip(LABELS, paths, strict=True))
    files["JSON"].write_text(prediction.to_json(indent=1))
    write_curve_csv(files["CSV"], prediction)
    with TURNS.turn(len(analysis.track.frames) > LONG_FRAMES):
        write_replay(files["Replay"], analysis.track, prediction)
        html_report(files["Report"], prediction, files["Replay"], name, analysis.clip_sha256)
    return files


def write_openface(analysis: Analysis, name: str) -> str:
    """Write OpenFace's table, the action units of each frame; return its path."""
    path = new(".csv", f"{name}-openface")
    with TURNS.turn(len(analysis.track.frames) > LONG_FRAMES):
        openface.write(path, openface.rows_of(analysis.prediction, analysis.track))
    return str(path)
