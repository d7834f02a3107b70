"""Publish the fixed evaluation set, as the Hub takes benchmarks: samples, a card, and eval.yaml."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import yaml
from huggingface_hub import DatasetCard

from mer_hf.evaluation.benchmark_set import CLIPS, LEVELS, MAPS, level_clips, level_maps, seed_of
from mer_hf.evaluation.clip_sets import render_test_clip
from mer_hf.video.clip import write_clip

from .cards import TAG, generated_data_card
from .push_synthetic import write_parquet
from .upload import check_name, publish

PATHS = {"flow_maps": "flow_maps/{}.parquet", "clips": "clips/{}.parquet"}
"""Kind of sample -> its files, by level."""


def push_evaluation(
    repo_id: str,
    *,
    maps: int = MAPS,
    clips: int = CLIPS,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Draw the fixed evaluation set and publish it.

    Args:
        repo_id (`str`): `owner/name`.
        maps (`int`, *optional*, defaults to 300): Flow maps of each level; fewer are the first ones.
        clips (`int`, *optional*, defaults to 24): Clips of each level. Another number gives other clips.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
        revision (`str`, *optional*): A tag for the commit.
        dry_run (`bool`, *optional*, defaults to `False`): Return what would be uploaded, and send nothing.
        progress (`Callable`, *optional*): Called with levels drawn and levels in all.

    Returns:
        `str`: With `dry_run` the files and the card, else the address of the commit.

    Raises:
        ValueError: In one line, if the name is invalid, there is no token or permission, or the connection is
            lost; the repository is then as it was.
        ImportError: If `datasets` is missing.
    """
    check_name(repo_id, revision)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, level in enumerate(LEVELS, start=1):
            write_parquet(level_maps(level, maps), folder / PATHS["flow_maps"].format(level))
            _write_clips(level, clips, folder / "clips")
            if progress:
                progress(number, len(LEVELS))
        (folder / "eval.yaml").write_text(_tasks(repo_id.split("/")[1]))
        card, old = _card(repo_id, maps, clips), ["flow_maps/*", "clips/*"]
        options = {"repo_type": "dataset", "private": private, "revision": revision, "dry_run": dry_run}
        return publish(folder, repo_id, card, "Upload the evaluation set", remove=old, **options)


def _write_clips(level: str, count: int, folder: Path) -> None:
    """Render the clips of a level, and a table of what is true of them."""
    (folder / level).mkdir(parents=True)
    rows = []
    for index, test in enumerate(level_clips(level, count)):
        rendered, label = render_test_clip(replace(test, crf=None), seed_of(level), index)
        fps = 1 / float(np.diff(rendered.clip.timestamps_s).mean())
        name = f"{level}/{index:03d}.mp4"
        write_clip(folder / name, rendered.clip.frames, fps, test.crf, threads=1)
        phases = {"onset": rendered.onset, "apex": rendered.apex, "offset": rendered.offset}
        rows.append({"file_name": name, "label": label, **phases, "peak_px": round(test.peak_px, 3)})
    write_parquet({name: [row[name] for row in rows] for name in rows[0]}, folder / f"{level}.parquet")


def _tasks(title: str) -> str:
    """Return eval.yaml: a task for each kind of sample and level."""
    tasks = [{"id": f"{kind}_{level}", "config": kind, "split": level} for kind in PATHS for level in LEVELS]
    about = "Micro-expressions of people who do not exist: UF1 on flow maps, accuracy on clips."
    return yaml.safe_dump({"name": title, "description": about, "tasks": tasks}, sort_keys=False)


def _card(repo_id: str, maps: int, clips: int) -> DatasetCard:
    files = {
        kind: [{"split": level, "path": path.format(level)} for level in LEVELS]
        for kind, path in PATHS.items()
    }
    metadata = {
        "task_categories": ["video-classification", "image-classification"],
        "size_categories": ["1K<n<10K" if 4 * (maps + clips) >= 1000 else "n<1K"],
        "tags": ["synthetic", "benchmark", TAG, "facial-expression"],
        "configs": [{"config_name": kind, "data_files": each} for kind, each in files.items()],
    }
    levels = {name: asdict(level) for name, level in LEVELS.items()}
    facts = {"levels": levels, "maps": maps, "clips": clips}
    return generated_data_card(repo_id, "evaluation_set.md", metadata, facts)
