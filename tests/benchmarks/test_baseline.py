"""The baselines compute what the originals do."""

import pytest
import torch

from benchmarks.baseline.facesleuth import FaceSleuthBaseline
from benchmarks.baseline.hsta import HSTABaseline
from benchmarks.baseline.htnet import HTNetBaseline
from benchmarks.baseline.mmnet import MMNetBaseline
from tests.fixtures import parity

MMNET = {
    "five_classes_plain_resize": {},
    "three_classes": {"num_labels": 3, "num_hidden_layers": 3, "mlp_ratio": 2},
    "five_classes": {"resize_antialias": True},
}
CASES = [
    ("htnet", "four_tokens/a"),
    ("mmnet", "three_classes/a"),
    ("hsta", "tiny_112"),
]
SLOW_CASES = [
    ("mmnet", "five_classes/a"),
    ("hsta", "tiny"),
    ("hsta", "tiny_header1"),
    ("hsta", "tiny_header4"),
    ("facesleuth", "cva_3"),
    ("facesleuth", "soa_batch1"),
    ("facesleuth", "coordinate"),
    ("facesleuth", "ca"),
]


def build(architecture: str, config: str):
    settings = parity.load(architecture).content["configs"][config]
    if architecture == "htnet":
        names = {"dim": "hidden_size", "heads": "num_attention_heads", "block_repeats": "depths"}
        names |= {"num_classes": "num_labels", "mlp_mult": "mlp_ratio", "channels": "num_channels"}
        fields = {names.get(k, k): v for k, v in settings["kwargs"].items()}
        levels = fields.pop("num_hierarchies")
        if isinstance(fields["depths"], int):
            fields["depths"] = [fields["depths"]] * levels
        return HTNetBaseline(**fields)
    if architecture == "mmnet":
        return MMNetBaseline(**MMNET[config])
    if architecture == "facesleuth":
        return FaceSleuthBaseline(**settings)
    fields = {k: v for k, v in settings["suggested"].items() if k not in ("hidden_act", "qkv_bias")}
    return HSTABaseline(**fields)


@pytest.mark.parametrize(
    ("architecture", "case"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)]
)
def test_logits_are_those_of_the_original(architecture, case):
    fixtures = parity.load(architecture)
    config = fixtures.cases[case]["config"]
    model = build(architecture, config).eval()
    weights = fixtures.weights(config)
    loaded = model.load_state_dict(
        {k: v for k, v in weights.items() if k in model.state_dict()}, strict=False
    )
    integers = {name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()}
    assert set(loaded.missing_keys) <= integers
    with torch.no_grad():
        logits = model(**fixtures.inputs(case))
    torch.testing.assert_close(logits, fixtures.expected(case)["logits"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("architecture", ["htnet", "mmnet", "hsta", "facesleuth"])
def test_only_what_the_original_has_without_effect_is_left_out(architecture):
    fixtures = parity.load(architecture)
    for config in fixtures.shapes:
        with torch.device("meta"):
            model = build(architecture, config)
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        original = {name: shape for name, (shape, _) in fixtures.shapes[config].items()}
        assert {name: original[name] for name in shapes} == shapes
        dead = (
            "timeembed",
            "pos.",
            "head.1",
            "head1.1",
            "vit_pos.cls_token",
            "vit_pos.head",
            "vit_pos.to_Mask",
        )
        dead += ("swin_pos_224.head", "main_branch.MLP")
        assert [name for name in original.keys() - shapes.keys() if not name.startswith(dead)] == []
