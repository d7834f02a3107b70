"""Measure the path from the file to the answer on recordings that you hold: numbers only, no picture is kept.

    python -m benchmarks.recordings --casme2 DIR --ordinary DIR [--publish]

`--casme2` is CASME II as it is given out (or a part of it), `--ordinary` a folder of clips for each emotion,
`neutral` among them. The numbers of both go to `benchmarks/results/`. With `--publish` the few of `SHOWN` are
shown in the page's About and in `docs/evaluation.md`.
"""

import argparse
import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.__main__ import FOLDER, keep, show
from mer_hf.data.prepare import load_annotated
from mer_hf.data.readers import READERS
from mer_hf.evaluation.recording_scores import PUBLISHED, flat, published_tables, score
from mer_hf.evaluation.recordings import Recording, ask, with_mean
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
        "uf1_own": "own/uf1",
        "apex_ms": "phases/apex_ms",
    },
    "ordinary": {
        "reported": "outcomes/expressions_reported",
        "left_alone": "outcomes/neutral_left_alone",
        "area_under_the_curve": "outcomes/area_under_the_curve",
        "uf1_spotted": "classes/spotted/uf1",
    },
}
"""Recordings -> name of a number that is published -> its key for each network."""
DOCS = FOLDER.parent / "docs" / "evaluation.md"


def label_of(emotion: str) -> int | None:
    """Return the index of an emotion's class; None for `neutral` and others."""
    name = TO_COMPOSITE3.get(emotion)
    return None if name is None else CLASSES.index(name)


def _recording(clip: Clip, key: str, dataset: str, subject: str, emotion: str, **more) -> Recording:
    track = cache(partial(track_face, clip))
    label = more.pop("label", label_of(emotion))
    return Recording(key, dataset, subject, emotion, label, track, clip.timestamps_s, **more)


def casme2(root: Path) -> Iterator[Recording]:
    """Return the clips of CASME II, from onset to offset."""
    for each in READERS["casme2"].read(root=root).annotations:
        clip, coded, _ = load_annotated(each)
        known = {"coded": coded, "units": each.action_units or None}
        if each.emotion in OUTSIDE_THE_COMPOSITE:
            known["label"] = None
        yield _recording(clip, each.key, "casme2", each.subject_key, each.emotion, **known)


def ordinary(root: Path) -> Iterator[Recording]:
    """Return the clips below folders that are called as an emotion; each is a person of its own."""
    for path in sorted(root.glob("*/*.*")):
        key = f"{path.parent.name}/{path.name}"
        yield _recording(read_clip(path), key, "ordinary", key, path.parent.name)


def measure(recordings: Iterator[Recording]) -> dict:
    """Ask all bundled networks, and score them and their mean."""
    pipelines = {
        name.removesuffix("-synthetic"): MicroExpressionPipeline.from_pretrained(name)
        for name in bundled_names()
    }
    rows = with_mean([row for recording in recordings for row in ask(pipelines, recording)])
    forced, own = score(rows, CLASSES), score(rows, CLASSES, selective=True)
    result = {"clips": forced["clips"]}
    for name, scores in forced["models"].items():
        result |= {f"{name}/{key}": value for key, value in flat(scores)}
        result |= {f"{name}/own/{key}": v for key, v in flat(own["models"][name]["classes"]["spotted"])}
    best = max(pipelines, key=lambda name: result.get(f"{name}/classes/spotted/uf1", np.nan))
    return result | {"best_spotted": best}


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
    (before, rest), end = DOCS.read_text().split(MEASURED[0]), MEASURED[1]
    DOCS.write_text(f"{before}{MEASURED[0]}\n\n{published_tables()}\n\n{end}{rest.partition(end)[2]}")


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--casme2", type=Path, metavar="DIR")
    parser.add_argument("--ordinary", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", metavar="DIR")
    parser.add_argument("--publish", action="store_true", help="show the numbers in the page and docs")
    args = parser.parse_args()
    result, commit = {}, git_commit() or "unknown"
    for name, read in (("casme2", casme2), ("ordinary", ordinary)):
        if root := getattr(args, name):
            result |= {f"{name}/{key}": value for key, value in measure(read(root)).items()}
    if not result:
        parser.error("name --casme2 or --ordinary")
    show("recordings", result)
    path = keep("recordings", result, args.results, commit)
    if args.publish:
        publish(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
