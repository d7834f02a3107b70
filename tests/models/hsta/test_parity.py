"""HSTA against stored outputs of the original on seeded weights."""

import pytest
import torch

from mer_hf.models.hsta import HSTAConfig, HSTAForVideoClassification
from mer_hf.models.hsta.convert_hsta import read_config, rename
from mer_hf.models.hsta.modeling_hsta import drop_path_rates
from tests.fixtures import parity

FIXTURES = parity.load("hsta")


def config_of(name: str) -> HSTAConfig:
    return HSTAConfig(**FIXTURES.content["configs"][name]["suggested"])


@pytest.fixture(scope="module")
def seeded_model():
    """The model of a configuration; one is kept at a time."""
    kept = {}

    def build(name: str):
        if name not in kept:
            kept.clear()
            model = HSTAForVideoClassification(config_of(name))
            model.load_state_dict(rename(FIXTURES.weights(name)))
            kept[name] = model.eval()
        return kept[name]

    return build


def stored_tensors(model, pixel_values) -> dict[str, torch.Tensor]:
    """The outputs under the fixtures' names, parts as in the fixtures."""
    with torch.no_grad():
        features = model.hsta(pixel_values, output_hidden_states=True)
        found = {"logits": model(pixel_values).logits}
        last = [
            norm(tokens) for norm, tokens in zip(model.hsta.norms, features.hidden_states[-2:], strict=True)
        ]
    torch.testing.assert_close(features.last_hidden_state, last[1], rtol=0, atol=1e-6)
    for branch in (0, 1):
        found[f"tokens_final_branch{branch}"] = last[branch][:, [1, -1], :16]
        embeddings = features.hidden_states[branch]
        found[f"embeddings_branch{branch}"] = embeddings[:, [0, 1, 2, -1], :16]
        for stage in range(len(model.config.depths)):
            found[f"cls_stage{stage}_branch{branch}"] = features.hidden_states[2 * stage + 2 + branch][:, 0]
    return found


QUICK_AND_SLOW = [
    pytest.param(case, marks=pytest.mark.slow) if case.startswith("base") else case for case in FIXTURES.cases
]
"""The published size takes seconds; the small ones run the same code."""


@pytest.mark.parametrize("case", QUICK_AND_SLOW)
def test_every_stored_tensor_is_reproduced(case, seeded_model):
    model, expected = seeded_model(FIXTURES.cases[case]["config"]), FIXTURES.expected(case)
    found = stored_tensors(model, FIXTURES.inputs(case)["pixel_values"])
    assert set(expected) == {*found, "logits_float64"}
    for name, tensor in found.items():
        torch.testing.assert_close(
            tensor, expected[name], rtol=1e-5, atol=2e-5, msg=lambda text, name=name: f"{case} {name}: {text}"
        )


@pytest.mark.parametrize("case", QUICK_AND_SLOW)
def test_logits_are_those_of_the_original_in_float64(case, seeded_model):
    model = seeded_model(FIXTURES.cases[case]["config"]).double()
    with torch.no_grad():
        logits = model(FIXTURES.inputs(case)["pixel_values"].double()).logits
    model.float()
    torch.testing.assert_close(logits, FIXTURES.expected(case)["logits_float64"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FIXTURES.shapes)
def test_shapes_and_parameters_are_those_of_the_original(name):
    with torch.device("meta"):
        model = HSTAForVideoClassification(config_of(name))
        shapes = rename({n: torch.empty(shape) for n, (shape, _) in FIXTURES.shapes[name].items()})
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in shapes.items()}


@pytest.mark.parametrize("name", FIXTURES.shapes)
def test_what_the_shapes_show_is_read_from_them(name):
    with torch.device("meta"):
        state = {n: torch.empty(shape) for n, (shape, _) in FIXTURES.shapes[name].items()}
    wanted = config_of(name)
    unseen = ("image_size", "num_frames", "num_attention_heads")
    given = {field: getattr(wanted, field) for field in unseen}
    if wanted.pooling == "mean":
        given["pooling"] = "mean"
    assert read_config(state, given)[0].to_dict() == wanted.to_dict()


def test_the_defaults_are_the_published_network():
    assert HSTAConfig().to_dict() == config_of("base").to_dict()
    with torch.device("meta"):
        assert HSTAForVideoClassification(HSTAConfig()).num_parameters() == 81_887_623


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([[1, 2]] * 2, [[[0.0], [0.0, 0.1]], [[0.2], [0.2, 0.3]]]),
        # The branch of the key frames is the deeper one: the entries run out in the second stage.
        ([[2, 1]] * 3, [[[0.0, 0.15], [0.0]], [[0.3, 0.0], [0.0]], [[0.0, 0.0], [0.0]]]),
    ],
)
def test_stochastic_depth_is_dealt_out_as_in_the_original(depths, expected):
    found = drop_path_rates(depths, 0.3)
    flat = [[pytest.approx(rates, abs=1e-6) for rates in stage] for stage in expected]
    assert found == flat
