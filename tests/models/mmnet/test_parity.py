"""MMNet against stored outputs of the original on seeded weights."""

from functools import cache

import pytest
import torch

from mer_hf.models.mmnet import MMNetConfig, MMNetForVideoClassification
from mer_hf.models.mmnet.convert_mmnet import dead, read_config, rename
from tests.fixtures import parity

FIXTURES = parity.load("mmnet")


def config_of(name: str) -> MMNetConfig:
    settings = FIXTURES.content["configs"][name]["kwargs"]
    return read_config(FIXTURES.weights(name), {"resize_antialias": settings["antialias"]})[0]


@cache
def seeded_model(name: str) -> MMNetForVideoClassification:
    model = MMNetForVideoClassification(config_of(name))
    left = model.load_state_dict(rename(FIXTURES.weights(name)), strict=False)
    assert not left.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in left.missing_keys)
    return model.eval()


def quick_and_slow(names, quick: str) -> list:
    """All are full-size networks: one is tested always, the others by `make test-slow`."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def stored_tensors(model, pixel_values) -> dict[str, torch.Tensor]:
    """The outputs under the fixtures' names."""
    with torch.no_grad():
        features = model.mmnet(pixel_values, output_attentions=True, output_hidden_states=True)
        found = {"logits": model(pixel_values).logits, "position": features.position_embedding}
        found["small_onset"] = model.mmnet.position_branch.reduce(pixel_values[:, 0])
    found["stem"] = features.hidden_states[0]
    for i, (block, attention) in enumerate(zip(features.hidden_states[1:], features.attentions, strict=True)):
        found |= {f"block_{i + 1}": block, f"attention_{i + 1}": attention}
    return found


def assert_within_tolerance(found: dict[str, torch.Tensor], case: str) -> None:
    entries, expected = FIXTURES.cases[case]["tensors"], FIXTURES.expected(case)
    assert set(entries) == set(found)
    for name, entry in entries.items():
        assert list(found[name].shape) == entry["full_shape"]
        kept = tuple(slice(count) for count in entry["first_of_each_axis"] or [])
        torch.testing.assert_close(
            found[name][kept].double(),
            expected[name].double(),
            rtol=0,
            atol=entry["suggested_atol"],
            msg=lambda text, name=name: f"{case} {name}: {text}",
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", quick_and_slow(FIXTURES.cases, "three_classes/a"))
def test_every_stored_tensor_is_reproduced(case, dtype):
    model = seeded_model(FIXTURES.cases[case]["config"]).to(dtype)
    assert_within_tolerance(stored_tensors(model, FIXTURES.inputs(case)["pixel_values"].to(dtype)), case)
    model.float()


@pytest.mark.parametrize("name", quick_and_slow(FIXTURES.shapes, "three_classes"))
def test_parameters_are_those_of_the_original_that_have_an_effect(name):
    with torch.device("meta"):
        model = MMNetForVideoClassification(config_of(name))
    weights = FIXTURES.weights(name)
    dropped = sum(weights[each].numel() for each in dead(weights) if "running" not in each)
    assert dropped == 532_106
    assert model.num_parameters() == FIXTURES.content["configs"][name]["parameters"] - dropped


@pytest.mark.slow
def test_the_defaults_are_the_published_five_class_network():
    expected = config_of("five_classes_plain_resize").to_dict()
    assert MMNetConfig().to_dict() == expected | {
        "id2label": MMNetConfig().id2label,
        "label2id": MMNetConfig().label2id,
    }
