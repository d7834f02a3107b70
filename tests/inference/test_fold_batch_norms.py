"""Batch norms become a part of the convolution before them where nothing else has a hand in it."""

import pytest
import torch
from torch import nn

from mer_hf.inference.optimize import fold_batch_norms, optimize_for_inference
from tests.models.tiny import tiny_inputs, tiny_model

keys = pytest.mark.parametrize("key", ["mmnet", "facesleuth"])


def trained(key: str):
    """A tiny model whose batch norms have statistics of their own."""
    model = tiny_model(key)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.3, 0.7, generator=generator)
    return model


def logits_of(model, key: str) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tiny_inputs(key)).logits


@keys
def test_every_batch_norm_behind_a_plain_convolution_is_folded(key):
    model = trained(key)
    expected, state = logits_of(model, key), {name: t.clone() for name, t in model.state_dict().items()}
    quick = optimize_for_inference(model)
    left = [name for name, part in quick.named_modules() if type(part) is nn.BatchNorm2d]
    assert left == (["facesleuth.motion_branch.norm2"] if key == "facesleuth" else [])
    torch.testing.assert_close(logits_of(quick, key), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close(logits_of(model, key), expected, rtol=0, atol=0)


@keys
def test_a_convolution_that_is_wrapped_or_hooked_keeps_its_batch_norm(key):
    model, seen = trained(key), []
    expected = logits_of(model, key)
    blocks = [part for part in model.modules() if type(getattr(part, "convolution", None)) is nn.Conv2d]
    blocks[0].convolution.register_forward_hook(lambda *_: seen.append(0))
    blocks[1].normalization.register_forward_pre_hook(lambda *_: seen.append(1))
    blocks[2].convolution = nn.Sequential(blocks[2].convolution)
    fold_batch_norms(model)
    folded = [type(block.normalization) is nn.Identity for block in blocks]
    assert folded[:3] == [False] * 3 and all(folded[3:])
    torch.testing.assert_close(logits_of(model, key), expected, rtol=1e-4, atol=1e-5)
    assert {0, 1} <= set(seen)
