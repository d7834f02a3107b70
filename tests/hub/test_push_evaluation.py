import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset
from huggingface_hub import DatasetCard, HfApi

from mer_hf.cli import main
from mer_hf.evaluation.benchmark_set import LEVELS, level_clips, level_maps, seed_of
from mer_hf.evaluation.clip_sets import render_test_clip
from mer_hf.hub import push_evaluation as module
from mer_hf.hub.push_evaluation import push_evaluation
from mer_hf.video.clip import read_clip


@pytest.mark.slow
def test_the_pushed_set_is_read_by_datasets_and_is_what_we_measure_on(tmp_path, hub):
    with hub():
        push_evaluation("me/set", maps=2, clips=2)
        folder = HfApi().snapshot_download("me/set", repo_type="dataset")
    assert set(get_dataset_config_names(folder)) == {"flow_maps", "clips"}
    tasks = yaml.safe_load(Path(folder, "eval.yaml").read_text())["tasks"]
    assert len(tasks) == 2 * len(LEVELS) == len({task["id"] for task in tasks})
    assert {task["split"] for task in tasks} == set(get_dataset_split_names(folder, "clips"))
    data = load_dataset(folder, "flow_maps", split="hard", cache_dir=str(tmp_path / "d")).with_format("numpy")
    np.testing.assert_array_equal(np.stack(list(data["flow"])), level_maps("hard", 2)["flow"])
    rows = load_dataset(folder, "clips", split="hard", cache_dir=str(tmp_path / "d"))
    for index, test in enumerate(level_clips("hard", 2)):
        rendered, _ = render_test_clip(test, seed_of("hard"), index)
        read = read_clip(f"{folder}/clips/{rows[index]['file_name']}")
        np.testing.assert_array_equal(read.frames, rendered.clip.frames)
        assert rows[index]["apex"] == rendered.apex


def test_the_card_has_every_level_and_the_command_plans_it(monkeypatch, capfd):
    drawn = []
    monkeypatch.setattr(module, "_write_clips", lambda level, count, folder: drawn.append((level, count)))
    monkeypatch.setattr(module, "level_maps", lambda level, count: level_maps(level, 1))
    assert main(["push-synthetic", "me/set", "--evaluation", "--dry-run"]) == 0
    plan = capfd.readouterr().out
    assert [level for level, _ in drawn] == list(LEVELS) and "eval.yaml" in plan
    card = DatasetCard(plan[plan.index("---\n") :])
    assert all(f"| {level} |" in card.text for level in LEVELS) and "{{" not in card.text
    assert [each["config_name"] for each in card.data.configs] == ["flow_maps", "clips"]


def test_levels_share_no_sample_and_grow_harder():
    sizes = [level.peak_px for level in LEVELS.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len({seed_of(level) for level in LEVELS}) == len(LEVELS)
    assert all(a[0] >= b[1] for a, b in itertools.pairwise(sizes))
