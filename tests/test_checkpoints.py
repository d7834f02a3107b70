"""The bundled checkpoints are what their folders say, and answer the project's own example clips."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from mer_hf.face.spotting import spot
from mer_hf.face.tracking import track_face
from mer_hf.hub.folder import code_files, example_clips, logits_in_clean_process, logits_of
from mer_hf.hub.scores import with_tables
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.loading import CHECKPOINTS, bundled_names, load
from mer_hf.registry import ARCHITECTURES
from mer_hf.synthetic.clips import EXAMPLE_KINDS, EXAMPLES
from mer_hf.utils.provenance import sha256_of
from mer_hf.video.clip import read_clip

ROOT = Path(__file__).parents[1]
LOOKS = ROOT / "benchmarks" / "results" / "looks-composite-dev.jsonl"

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
        "calibration.json",
        "config.json",
        "evaluation.json",
        "model.safetensors",
        "preprocessor_config.json",
        "train_config.json",
        "video_preprocessor_config.json",
    }
    code = {path.name: path for path in code_files(ARCHITECTURES[name.removesuffix("-synthetic")])}
    assert set(files) == expected | set(code) and files["model.safetensors"] < 6_000_000
    for file, path in code.items():  # made when the package is built; pip install -e . makes them again
        assert (CHECKPOINTS / name / file).read_bytes() == path.read_bytes(), f"{file} is an old copy"
    record = json.loads((CHECKPOINTS / name / "train_config.json").read_text())
    assert record["model"] == name.removesuffix("-synthetic") and not (record["commit"] or "").endswith(
        "-dirty"
    )
    card = (CHECKPOINTS / name / "README.md").read_text()
    assert "license: apache-2.0" in card and "must not be used" in card and "detect lies" in card


@pytest.mark.slow
def test_copied_folders_load_without_the_package(tmp_path):
    loaded = [load(name) for name in bundled_names()]
    clips = [example_clips(processor) for _, processor in loaded]
    for name in bundled_names():
        shutil.copytree(CHECKPOINTS / name, tmp_path / name)
    repositories = [(str(tmp_path / n), c, {}) for n, c in zip(bundled_names(), clips, strict=True)]
    for own, logits, each in zip(loaded, logits_in_clean_process(repositories), clips, strict=True):
        np.testing.assert_allclose(logits, logits_of(*own, each), atol=1e-5)


@names
def test_the_weights_are_those_that_were_reproduced(name):
    text = (ROOT / "docs" / "synthetic-motion.md").read_text()
    assert f"`{sha256_of(CHECKPOINTS / name / 'model.safetensors')[:12]}`" in text


@names
def test_a_card_shows_what_was_measured(name):
    tables = json.loads((CHECKPOINTS / name / "evaluation.json").read_text())
    card = (CHECKPOINTS / name / "README.md").read_text()
    assert with_tables(card, tables) == card
    for row in tables[1]["rows"]:
        assert f"| {' | '.join(row)} |" in card


@pytest.fixture(scope="module")
def answer(example_file):
    """A function of checkpoint and kind; each example file is tracked only once for each crop."""

    @cache
    def clip(kind):
        return read_clip(example_file(kind))

    @cache
    def tracked(kind, geometry):
        track = track_face(clip(kind), geometry)
        return track, spot(track, clip(kind).timestamps_s)

    def ask(pipeline, kind):
        return pipeline.classify(*tracked(kind, pipeline.geometry), clip(kind).timestamps_s)

    return ask


@names
def test_the_example_files_are_recognised(name, answer):
    pipeline = MicroExpressionPipeline.from_pretrained(name)
    answers = {kind: answer(pipeline, kind) for kind in EXAMPLE_KINDS}
    assert {kind: answers[kind].label for kind in EXAMPLES} == {kind: kind for kind in EXAMPLES}
    assert {answers[kind].outcome for kind in EXAMPLES} == {"micro_expression"}
    assert {answers[kind].label for kind in ("still", "blink")} == {None}


@names
def test_the_scores_of_a_card_are_those_of_a_look_at_these_weights(name):
    """`mer-hf models` shows them."""
    folder = CHECKPOINTS / name
    results = ModelCard.load(folder / "README.md").data.eval_results or []
    looks = [json.loads(line) for line in LOOKS.read_text().splitlines()]
    measured = [
        look for look in looks if look.get("weights_sha256") == sha256_of(folder / "model.safetensors")
    ]
    for each in results:
        key = each.metric_name.split()[0].lower()
        assert [each.metric_value] == sorted({round(look[key], 4) for look in measured})
        assert f"({measured[0]['clips']} clips, {measured[0]['subjects']} subjects" in each.dataset_name
    assert bool(results) == bool(measured)
