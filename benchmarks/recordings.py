"""Measure the path from the file to the answer on recordings that you hold: numbers only, no picture is kept.

    python -m benchmarks.recordings --casme2 DIR --ordinary DIR [--publish]

`--casme2` is CASME II as it is given out (or a part of it), `--ordinary` a folder of clips for each emotion,
`neutral` among them. The numbers of both go to `benchmarks/results/`. With `--publish` the few of `SHOWN` are
shown in the page's About and in `docs/evaluation.md`.
"""

import argparse
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.__main__ import FOLDER, keep, show
from mer_hf.data.annotations import Annotation
from mer_hf.data.prepare import load_annotated
from mer_hf.data.readers import READERS
from mer_hf.evaluation.recording_scores import PUBLISHED, flat, published_tables, score
from mer_hf.evaluation.recordings import MEAN, Recording, ask, with_mean
from mer_hf.face.tracking import track_face
from mer_hf.hub.scores import MEASURED
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.labels import SCHEMES, TO_COMPOSITE3
from mer_hf.loading import bundled_names
from mer_hf.utils.provenance import git_commit
from mer_hf.video.clip import Clip, read_clip

CLASSES = SCHEMES["composite3"]
OUTSIDE_THE_COMPOSITE = ("fear", "sadness")
"""Emotions of CASME II that the official list of the composite leaves out."""

SHOWN = {
    "casme2": {
        "uf1_annotated": "classes/annotated/uf1",
        "uf1_spotted": "classes/spotted/uf1",
        "uf1_midpoint": "classes/midpoint/uf1",
        "uf1_own": "own/uf1",
        "apex_ms": "phases/apex_ms",
        "midpoint_ms": "phases/midpoint_ms",
    },
    "ordinary": {
        "reported": "outcomes/expressions_reported",
        "left_alone": "outcomes/neutral_left_alone",
        "area_under_the_curve": "outcomes/area_under_the_curve",
        "uf1_spotted": "classes/spotted/uf1",
    },
}
"""Recordings -> name of a number that is published -> its key for each network."""
DOCS = {FOLDER.parent / "docs" / "evaluation.md": False, FOLDER.parent / "README.md": True}
"""Document with the published tables -> whether it has only the short one."""


def label_of(emotion: str) -> int | None:
    """Return the index of an emotion's class; None for `neutral` and others."""
    name = TO_COMPOSITE3.get(emotion)
    return None if name is None else CLASSES.index(name)


def _recording(clip: Clip, key: str, dataset: str, subject: str, emotion: str, **more) -> Recording:
    track = cache(partial(track_face, clip))
    label = more.pop("label", label_of(emotion))
    return Recording(key, dataset, subject, emotion, label, track, clip.timestamps_s, **more)


def casme2(root: Path) -> list[Callable[[], Recording]]:
    """Return what reads each clip of CASME II, from onset to offset."""
    return [partial(_annotated, each) for each in READERS["casme2"].read(root=root).annotations]


def _annotated(each: Annotation) -> Recording:
    clip, coded, _ = load_annotated(each)
    known = {"coded": coded, "units": each.action_units or None}
    if each.emotion in OUTSIDE_THE_COMPOSITE:
        known["label"] = None
    return _recording(clip, each.key, "casme2", each.subject_key, each.emotion, **known)


def ordinary(root: Path) -> list[Callable[[], Recording]]:
    """Return what reads each clip below folders called as an emotion; each shows a person of its own."""
    return [partial(_ordinary, path) for path in sorted(root.glob("*/*.*"))]


def _ordinary(path: Path) -> Recording:
    key = f"{path.parent.name}/{path.name}"
    return _recording(read_clip(path), key, "ordinary", key, path.parent.name)


def measure(name: str, recordings: list[Callable[[], Recording]], workers: int) -> dict:
    """Ask all bundled networks, and score them and their mean."""
    parts = [recordings[part::workers] for part in range(workers)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        rows = [row for part in pool.map(partial(_ask, name), parts, range(workers)) for row in part]
    rows = with_mean(sorted(rows, key=lambda row: row["key"]))
    forced, own = score(rows, CLASSES), score(rows, CLASSES, selective=True)
    result = {"clips": forced["clips"]}
    for model, scores in forced["models"].items():
        result |= {f"{model}/{key}": value for key, value in flat(scores)}
        result |= {f"{model}/own/{key}": v for key, v in flat(own["models"][model]["classes"]["spotted"])}
    spotted = {model: result.get(f"{model}/classes/spotted/uf1", np.nan) for model in forced["models"]}
    spotted.pop(MEAN)
    return result | {"best_spotted": max(spotted, key=spotted.get)}


def _ask(name: str, recordings: list[Callable[[], Recording]], part: int) -> list[dict]:
    """Ask about some recordings, in a process of its own; the first shows how far it is."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    pipelines = {
        name.removesuffix("-synthetic"): MicroExpressionPipeline.from_pretrained(name)
        for name in bundled_names()
    }
    shown = tqdm(recordings, desc=name, unit="clip", disable=part > 0)
    return [row for read in shown for row in ask(pipelines, read())]


def summary(kept: dict) -> dict:
    """Return what is published of a kept result: commit, date, and the numbers of `SHOWN`."""
    result, parts = kept["result"], {"commit": kept["commit"], "date": kept["date"][:10]}
    for data, shown in SHOWN.items():
        names = dict.fromkeys(key.split("/")[1] for key in result if key.startswith(f"{data}/"))
        names = [name for name in names if f"{data}/{name}/own/clips" in result]
        if names:
            first = f"{data}/{names[0]}/own"
            parts[data] = {
                "clips": result[f"{data}/clips"],
                "scored": result[f"{first}/clips"],
                "subjects": result[f"{first}/subjects"],
                "networks": {name: _numbers(result, f"{data}/{name}", shown) for name in names},
            }
    return parts


def _numbers(result: dict, prefix: str, shown: dict[str, str]) -> dict[str, float]:
    """Return the numbers of one network, each with its interval where it has one."""
    return {
        name + end: result[f"{prefix}/{key}{end}"]
        for name, key in shown.items()
        for end in ("", "_interval_low", "_interval_high")
        if f"{prefix}/{key}{end}" in result
    }


def publish(kept: dict) -> None:
    """Write the summary of a kept result where the page reads it, and its tables into the documentation."""
    PUBLISHED.write_text(json.dumps(summary(kept), indent=1) + "\n")
    for path, short in DOCS.items():
        (before, rest), end = path.read_text().split(MEASURED[0]), MEASURED[1]
        text = f"{MEASURED[0]}\n\n{published_tables(short=short)}\n\n{end}"
        path.write_text(f"{before}{text}{rest.partition(end)[2]}")


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--casme2", type=Path, metavar="DIR")
    parser.add_argument("--ordinary", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", metavar="DIR")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--publish", action="store_true", help="show the numbers in the page and docs")
    args = parser.parse_args()
    result, commit = {}, git_commit() or "unknown"
    for name, read in (("casme2", casme2), ("ordinary", ordinary)):
        if root := getattr(args, name):
            result |= {
                f"{name}/{key}": value for key, value in measure(name, read(root), args.workers).items()
            }
    if not result:
        parser.error("name --casme2 or --ordinary")
    show("recordings", result)
    path = keep("recordings", result, args.results, commit)
    if args.publish:
        publish(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
