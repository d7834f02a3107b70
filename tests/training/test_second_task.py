import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification

from mer_hf.registry import ARCHITECTURES
from mer_hf.training.augmentation import vary_light
from mer_hf.training.config import TrainingConfig, TrainingError
from mer_hf.training.loop import train
from mer_hf.training.second_task import UNITS, WithActionUnits, action_unit_loss, relative_strengths
from tests.models.tiny import tiny_inputs, tiny_model


def test_strengths_are_relative_to_the_strongest_on_its_side():
    strengths = relative_strengths({"AU12": (2.0, 0.5), "AU6": (1.0, 1.0)})
    assert strengths.shape == (2, len(UNITS)) and strengths.dtype == np.float32
    assert strengths[:, UNITS.index("AU12")].tolist() == [1.0, 0.25]
    assert strengths[:, UNITS.index("AU6")].tolist() == [0.5, 0.5]
    assert strengths.sum() == 2.25 and not relative_strengths({}).any()


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_the_classes_are_scored_as_by_the_network_alone(key):
    network = tiny_model(key).eval()
    inputs = tiny_inputs(key)
    logits, units = WithActionUnits(network).eval()(**inputs)
    assert torch.equal(logits, network(**inputs).logits)
    assert units.shape == (len(logits), 2, len(UNITS))


def test_the_loss_is_least_where_the_scores_say_the_strengths():
    strengths = torch.tensor(relative_strengths({"AU12": (2.0, 0.5)}))[None]
    right = torch.logit(strengths, eps=1e-4)
    assert action_unit_loss(right, strengths) < action_unit_loss(right.flip(1), strengths)


def test_a_mirrored_clip_moves_on_the_other_side():
    strengths = torch.tensor(relative_strengths({"AU12": (1.0, 0.0)})).expand(64, -1, -1)
    pixels = torch.zeros(64, 2, 1, 8, 8)
    pixels[..., 0] = 1.0
    varied = vary_light({"pixel_values": pixels, "strengths": strengths}, 1e-6, torch.Generator())
    mirrored = varied["pixel_values"][:, 0, 0, 0, 0] < 0.5
    assert 0 < mirrored.sum() < 64
    assert torch.equal(varied["strengths"][:, 1, UNITS.index("AU12")] == 1, mirrored)


def test_the_head_decides_the_weights_and_is_not_saved(tiny):
    plain, taught = tiny("plain"), tiny("taught", action_unit_weight=1.5)
    for config in (plain, taught):
        train(config)
    before, after = (load_file(f"{config.output_dir}/model.safetensors") for config in (plain, taught))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    record = json.loads(Path(taught.output_dir, "train_config.json").read_text())
    assert record["action_unit_weight"] == 1.5
    AutoModelForVideoClassification.from_pretrained(taught.output_dir)


def test_recorded_clips_have_no_such_task():
    with pytest.raises(TrainingError, match="--action-unit-weight belongs to --data synthetic"):
        TrainingConfig(output_dir="unused", data="flows:maps.npz", action_unit_weight=1.0)
