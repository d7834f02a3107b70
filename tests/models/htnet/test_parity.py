"""HTNet against stored outputs of the original on seeded weights, and its mosaics exactly."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification

from mer_hf.models.htnet import HTNetConfig, HTNetForVideoClassification, HTNetImageProcessor
from mer_hf.models.htnet.convert_htnet import rename

FIXTURES = Path(__file__).parents[2] / "fixtures"
_spec = importlib.util.spec_from_file_location("seeded", FIXTURES / "seeded.py")
seeded = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(seeded)

CASES = json.loads((FIXTURES / "htnet/cases.json").read_text())
SHAPES = json.loads((FIXTURES / "htnet/state_dict.json").read_text())
EXPECTED = load_file(FIXTURES / "htnet/cases.safetensors")
MOSAICS = json.loads((FIXTURES / "htnet/mosaics.json").read_text())
EXPECTED_MOSAICS = load_file(FIXTURES / "htnet/mosaics.safetensors")
FIELDS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "dim": "hidden_size",
    "heads": "num_attention_heads",
    "num_hierarchies": "num_hierarchies",
    "block_repeats": "depths",
    "num_classes": "num_labels",
    "mlp_mult": "mlp_ratio",
    "channels": "num_channels",
}


def config_of(name: str) -> HTNetConfig:
    return HTNetConfig(**{FIELDS[k]: v for k, v in CASES["configs"][name]["kwargs"].items()})


@cache
def original_weights(name: str) -> dict[str, torch.Tensor]:
    return seeded.from_shapes(SHAPES[name])


@pytest.fixture(scope="module", autouse=True)
def release_the_published_weights():
    yield
    original_weights.cache_clear()  # 558 MB


def seeded_model(name: str) -> HTNetForVideoClassification:
    with torch.device("meta"):
        model = HTNetForVideoClassification(config_of(name))
    model.load_state_dict(rename(original_weights(name)), assign=True)
    return model.eval()


def pixel_values_of(case: dict) -> torch.Tensor:
    recipe = case["inputs"]["pixel_values"]
    return seeded.images(tuple(recipe["shape"]), recipe["seed"], recipe["low"], recipe["high"])


def stored_tensors(model: HTNetForVideoClassification, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs under the fixtures' names."""
    with torch.no_grad():
        features = model.htnet(pixel_values, output_attentions=True, output_hidden_states=True)
        outputs = model(pixel_values)
    found = {"logits": outputs.logits, "pooled": features.pooler_output}
    found["patch_embeddings"] = features.hidden_states[0]
    first_layer = 0
    for i, depth in enumerate(model.config.depths):
        found[f"hierarchy_{i}"] = features.hidden_states[i + 1]
        found[f"attention_{i}"] = features.attentions[first_layer]
        first_layer += depth
    return found


def assert_within_tolerance(found: dict[str, torch.Tensor], case: dict) -> None:
    assert set(case["tensors"]) <= set(found)
    for name, stored in case["tensors"].items():
        tensor = found[name]
        assert list(tensor.shape) == stored["full_shape"], name
        kept = stored["first_of_each_axis"] or []
        tensor = tensor[tuple(slice(count) for count in kept)]
        torch.testing.assert_close(
            tensor.double(),
            EXPECTED[stored["key"]].double(),
            rtol=0,
            atol=stored["suggested_atol"],
            msg=lambda text, name=name: f"{case['name']} {name}: {text}",
        )


@pytest.mark.parametrize("name", CASES["configs"])
def test_parameters_are_those_of_the_original(name):
    with torch.device("meta"):
        model = HTNetForVideoClassification(config_of(name))
    assert model.num_parameters() == CASES["configs"][name]["parameters"]
    assert len(model.state_dict()) == CASES["configs"][name]["state_dict_tensors"]


def test_the_defaults_are_the_published_network():
    default, published = HTNetConfig().to_dict(), config_of("published").to_dict()
    assert default == published
    assert HTNetConfig().tokens_per_block == 1


QUICK_AND_SLOW = [
    pytest.param(name, marks=pytest.mark.slow) if name == "published" else name for name in CASES["configs"]
]
"""The published size takes seconds; the small ones run the same code."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_every_stored_tensor_is_reproduced(name, dtype):
    model = seeded_model(name).to(dtype)
    for case in (c for c in CASES["cases"] if c["config"] == name):
        assert_within_tolerance(stored_tensors(model, pixel_values_of(case).to(dtype)), case)


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_every_stored_tensor_is_reproduced_after_saving_and_loading(name, tmp_path):
    model = seeded_model(name)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert type(loaded) is HTNetForVideoClassification and not loaded.training
    for case in (c for c in CASES["cases"] if c["config"] == name):
        pixel_values = pixel_values_of(case)
        found = stored_tensors(loaded, pixel_values)
        assert_within_tolerance(found, case)
        with torch.no_grad():
            expected = model(pixel_values).logits
            torch.testing.assert_close(found["logits"], expected, rtol=1e-6, atol=1e-6 * expected.abs().max())
    del model, loaded
    double = AutoModelForVideoClassification.from_pretrained(tmp_path, dtype=torch.float64)
    for case in (c for c in CASES["cases"] if c["config"] == name):
        assert_within_tolerance(stored_tensors(double, pixel_values_of(case).double()), case)


@pytest.mark.parametrize("name", MOSAICS["cases"])
def test_mosaics_are_those_of_the_original(name):
    case = MOSAICS["cases"][name]
    planes = seeded.images((3, 28, 28), case["seed"], 0, 255).clamp(0, 255).round().to(torch.uint8).numpy()
    # Landmarks were found on a face of 28 pixels.
    processor = HTNetImageProcessor(
        face_geometry={"size": 28, "eye_row": 0.393, "interocular_fraction": 0.424}
    )
    flow_maps = planes.transpose(1, 2, 0)[None]
    mosaic = processor(flow_maps=flow_maps, landmarks_xy=case["landmarks"])["pixel_values"][0]
    # The fixture keeps the planes of the flow picture, (u, v, strain); the network reads them in reverse.
    (expected,) = [v for k, v in EXPECTED_MOSAICS.items() if k.split("/")[0] == name or k == name]
    np.testing.assert_array_equal(mosaic[::-1], expected.numpy())
