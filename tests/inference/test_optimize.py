"""The quick copy of a network answers as the network does."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from mer_hf.inference import optimize
from mer_hf.inference.optimize import (
    OneDNNLinear,
    OneQueryAttention,
    OneTokenAttention,
    WindowLayer,
    optimize_for_inference,
)
from mer_hf.loading import load
from mer_hf.models.htnet import HTNetConfig, HTNetForVideoClassification
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_inputs, tiny_model

keys = pytest.mark.parametrize("key", ARCHITECTURES)


@pytest.fixture(autouse=True, params=["small", "as if large"])
def size(request, monkeypatch):
    """What pays only in large networks is done in these small ones too."""
    if request.param != "small":
        for limit in ("MANY_WEIGHTS", "MANY_OUTPUTS", "FEW_PARAMETERS"):
            monkeypatch.setattr(optimize, limit, 0)


def inputs_of(key: str, samples: int = 5) -> dict[str, torch.Tensor]:
    """More samples than go through a network together."""
    return {
        name: torch.cat([tensor] * samples)[:samples]
        + 0.01 * torch.arange(samples).view(-1, *[1] * (tensor.ndim - 1))
        for name, tensor in tiny_inputs(key).items()
    }


def assert_agree(quick, plain, inputs, **options) -> None:
    with torch.inference_mode():
        outputs, expected = quick(**inputs, **options), plain(**inputs, **options)
    torch.testing.assert_close(
        outputs.logits, expected.logits, rtol=0, atol=1e-5 * expected.logits.abs().max().item()
    )
    for name in ("hidden_states", "attentions"):
        assert (outputs.get(name) is None) == (expected.get(name) is None)
        for tensor, wanted in zip(outputs.get(name) or (), expected.get(name) or (), strict=True):
            torch.testing.assert_close(tensor, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@keys
def test_the_quick_copy_agrees_and_leaves_the_network_as_it_was(key):
    model = tiny_model(key)
    names, weights = list(model.state_dict()), [p.data_ptr() for p in model.parameters()]
    quick = optimize_for_inference(model)
    for samples in (1, 2, 5):
        assert_agree(quick, model, inputs_of(key, samples))
    asked = {"output_hidden_states": True, "output_attentions": True}
    assert_agree(quick, model, inputs_of(key), **asked)
    relevance = model.relevance(target=1, **inputs_of(key))
    torch.testing.assert_close(
        quick.relevance(target=1, **inputs_of(key)), relevance, rtol=0, atol=1e-4 * relevance.max().item()
    )
    assert list(model.state_dict()) == names and [p.data_ptr() for p in model.parameters()] == weights
    assert not any(isinstance(part, OneDNNLinear) for part in model.modules())


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_bundled_networks_agree(key):
    model, _ = load(key)
    size = model.config.image_size
    frames = {"htnet": (), "hsta": (getattr(model.config, "num_frames", 0) + 2,)}.get(key, (2,))
    pixel_values = torch.randn(3, *frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert_agree(optimize_for_inference(model), model, {"pixel_values": pixel_values})


def test_blocks_of_several_tokens_keep_their_attention():
    torch.manual_seed(0)
    model = HTNetForVideoClassification(HTNetConfig(hidden_size=20, depths=[1, 2])).eval()
    quick = optimize_for_inference(model)
    assert not any(isinstance(part, OneTokenAttention) for part in quick.modules())
    assert_agree(quick, model, {"pixel_values": torch.randn(3, 3, 28, 28)})


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_layers_are_replaced_where_that_is_quicker():
    for key, kind, count in (
        ("htnet", OneTokenAttention, 4),
        ("hsta", OneQueryAttention, 4),
        ("facesleuth", WindowLayer, 4),
    ):
        parts = [type(part) for part in optimize_for_inference(tiny_model(key)).modules()]
        assert parts.count(kind) == count and nn.Linear not in parts and OneDNNLinear in parts


@keys
def test_half_precision(key):
    half = optimize_for_inference(tiny_model(key).to(torch.bfloat16))
    assert OneDNNLinear not in [type(part) for part in half.modules()]
    with torch.inference_mode():
        assert half(**inputs_of(key)).logits.isfinite().all()


@keys
def test_adapters_and_hooks_keep_working(key):
    inputs = inputs_of(key)
    model = get_peft_model(tiny_model(key), LoraConfig(r=4, target_modules="all-linear")).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    assert_agree(optimize_for_inference(model), model, inputs)

    model, fired = tiny_model(key), set()
    layers = [part for part in model.modules() if type(part) in (nn.Linear, nn.Conv2d)]
    for i, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, i=i: fired.add(i))
    with torch.inference_mode():
        optimize_for_inference(model)(**inputs)
    assert len(fired) == len(layers)


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_relevance_stays_the_same(key):
    plain, _ = load(f"{key}-synthetic")
    config = plain.config
    frames = {"htnet": (), "hsta": (getattr(config, "num_frames", 0) + 2,)}.get(key, (2,))
    generator = torch.Generator().manual_seed(0)
    pixel_values = torch.randn(1, *frames, 3, config.image_size, config.image_size, generator=generator)
    relevance = plain.relevance(pixel_values=pixel_values)
    quick = optimize_for_inference(plain).relevance(pixel_values=pixel_values)
    torch.testing.assert_close(quick, relevance, rtol=0, atol=1e-3 * relevance.abs().max().item())


@pytest.mark.parametrize("limit, split", [(5_000_000, False), (0, True)])
def test_only_large_networks_take_a_batch_in_parts(limit, split, monkeypatch):
    monkeypatch.setattr(optimize, "FEW_PARAMETERS", limit)
    assert ("forward" in vars(optimize_for_inference(tiny_model("hsta")).base_model)) is split
