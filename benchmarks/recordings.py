"""Measure the path from the file to the answer on recordings that you hold: numbers only, no picture is kept.

    python -m benchmarks.recordings --casme2 DIR --ordinary DIR

`--casme2` is CASME II as it is given out (or a part of it), `--ordinary` a folder of clips for each emotion,
`neutral` among them. The numbers of both go to `benchmarks/results/`.
"""

import argparse
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.__main__ import FOLDER, keep, show
from mer_hf.data.prepare import load_annotated
from mer_hf.data.readers import READERS
from mer_hf.evaluation.recording_scores import flat, score
from mer_hf.evaluation.recordings import Recording, ask, with_mean
from mer_hf.face.tracking import track_face
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.labels import SCHEMES, TO_COMPOSITE3
from mer_hf.loading import bundled_names
from mer_hf.utils.provenance import git_commit
from mer_hf.video.clip import Clip, read_clip

CLASSES = SCHEMES["composite3"]
OUTSIDE_THE_COMPOSITE = ("fear", "sadness")
"""Emotions of CASME II that the official list of the composite leaves out."""


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


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--casme2", type=Path, metavar="DIR")
    parser.add_argument("--ordinary", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", metavar="DIR")
    args = parser.parse_args()
    result, commit = {}, git_commit() or "unknown"
    for name, read in (("casme2", casme2), ("ordinary", ordinary)):
        if root := getattr(args, name):
            result |= {f"{name}/{key}": value for key, value in measure(read(root)).items()}
    if not result:
        parser.error("name --casme2 or --ordinary")
    show("recordings", result)
    keep("recordings", result, args.results, commit)


if __name__ == "__main__":
    main()
