import numpy as np
import pytest
from datasets import load_dataset
from fastapi.responses import JSONResponse
from huggingface_hub import DatasetCard, HfApi

from mer_hf.cli import main
from mer_hf.hub.push_synthetic import draw_columns, push_synthetic
from mer_hf.synthetic.people import draw_people
from tests.hub.test_push import POINTS


@pytest.fixture(scope="module")
def columns():
    return draw_columns(3, seed=4)


def test_the_drawn_columns_are_those_of_synth_flows_with_the_stream_of_each_sample(columns):
    drawn = draw_people(3, seed=4)
    for name in ("flow", "label", "subject"):
        assert np.array_equal(columns[name], drawn[name]), name
    assert all(len(values) == len(drawn["label"]) for values in columns.values())
    assert all(columns["action_units"]) and len(
        {*zip(columns["seed"], columns["index"], strict=True)}
    ) == len(drawn["label"])


def test_the_pushed_dataset_is_read_by_datasets(columns, tmp_path, hub):
    with hub() as url:
        address = push_synthetic("me/synthetic", 3, 4, revision="v1")
        assert address.startswith(f"{url}/datasets/me/synthetic/commit/")
        folder = HfApi().snapshot_download("me/synthetic", repo_type="dataset", revision="v1")
    data = load_dataset(folder, split="train", cache_dir=str(tmp_path / "datasets"))
    assert data.column_names == ["flow", "label", "subject", "action_units", "seed", "index"]
    assert data.features["label"].names == ["negative", "positive", "surprise"]
    assert data.features["flow"].dtype == "uint8" and data["action_units"] == columns["action_units"]
    arrays = data.with_format("numpy")
    for name in ("flow", "label", "subject", "seed", "index"):
        assert np.array_equal(np.stack([row[name] for row in arrays]), columns[name]), name


def test_the_card_counts_what_was_drawn(columns):
    plan = push_synthetic("me/synthetic", 3, 4, dry_run=True)
    assert plan.startswith("to me/synthetic:") and "data/train-00000.parquet" in plan
    card = DatasetCard(plan[plan.index("---\n") :])
    counts = " | ".join(map(str, np.bincount(columns["label"], minlength=3)))
    assert f"| train | {len(columns['label'])} | 3 | {counts} |" in card.text
    positive = [
        units for units, label in zip(columns["action_units"], columns["label"], strict=True) if label == 1
    ]
    share = np.mean(["AU12" in {unit["name"] for unit in units} for units in positive])
    row = next(line for line in card.text.splitlines() if line.startswith("| AU12 |"))
    assert row.split("|")[3].strip() == f"{share:.2f}"
    assert "mer-hf push-synthetic me/synthetic --subjects 3 --seed 4" in card.text
    assert "No recorded expression" in card.text and "AI Act" in card.text and "{{" not in card.text
    assert card.data.license == "apache-2.0" and card.data.size_categories == ["n<1K"]


def test_an_upload_that_breaks_leaves_nothing_half_and_a_second_push_leaves_no_old_file(hub):
    broken = [True]

    def fail(request):
        refuse = broken[0] and POINTS["commit"](request)
        return JSONResponse({"error": "out of order"}, 400) if refuse else None

    def files():
        return set(HfApi().list_repo_files("me/synthetic", repo_type="dataset"))

    with hub(fail):
        with pytest.raises(ValueError, match="has not changed"):
            push_synthetic("me/synthetic", 2)
        assert files() == {".gitattributes"}
        broken[0] = False
        old = {"path_in_repo": "data/train-00001.parquet", "repo_id": "me/synthetic", "repo_type": "dataset"}
        HfApi().upload_file(path_or_fileobj=b"old", **old)
        push_synthetic("me/synthetic", 2)
        assert files() == {".gitattributes", "README.md", "data/train-00000.parquet"}


def test_the_command_draws_and_says_what_would_be_published(capfd):
    arguments = ["push-synthetic", "me/synthetic", "--subjects", "2", "--seed", "9"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "data/train-00000.parquet" in capfd.readouterr().out
    assert main([*arguments, "--dry-run", "--subjects", "1"]) == 2
    assert "expected at least two subjects, got 1" in capfd.readouterr().err
    assert main([*arguments, "--dry-run", "--revision", "../v1"]) == 2
    assert "invalid tag '../v1'" in capfd.readouterr().err
    with pytest.raises(ValueError, match="the seed must lie in 0 to 2147483647, got -1"):
        push_synthetic("me/synthetic", 2, -1, dry_run=True)
