"""The bundled checkpoints are what their folders say, and answer the project's own example clips."""

import json

import pytest

from mer_hf.pipeline import MicroExpressionPipeline
from mer_hf.registry import ARCHITECTURES, CHECKPOINTS
from mer_hf.synthetic.clips import EXAMPLES

names = pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
)


def test_every_architecture_has_one():
    assert {path.parent.name for path in CHECKPOINTS.glob("*/config.json")} == {
        f"{key}-synthetic" for key in ARCHITECTURES
    }


@names
def test_a_folder_is_small_and_holds_weights_settings_and_a_card(name):
    files = {path.name: path.stat().st_size for path in (CHECKPOINTS / name).iterdir()}
    expected = {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "train_config.json",
    }
    assert set(files) == expected and files["model.safetensors"] < 6_000_000
    record = json.loads((CHECKPOINTS / name / "train_config.json").read_text())
    assert record["model"] == name.removesuffix("-synthetic") and not (record["commit"] or "").endswith(
        "-dirty"
    )
    card = (CHECKPOINTS / name / "README.md").read_text()
    assert "license: apache-2.0" in card and "must not be used" in card and "detect lies" in card


@names
def test_the_example_clips_are_named_rightly(name, example):
    pipeline = MicroExpressionPipeline.from_pretrained(name)
    assert {kind: pipeline(example(kind).clip).label for kind in EXAMPLES} == {
        kind: kind for kind in EXAMPLES
    }
