"""Whatever wraps or replaces a layer reaches it in every architecture: each layer is called as a module."""

import copy

import accelerate
import pytest
import torch
from peft import LoraConfig, get_peft_model

from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_inputs, tiny_model

keys = pytest.mark.parametrize("key", ARCHITECTURES)


def logits_of(model, inputs) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs).logits


def adapted(key: str, target_modules):
    """A tiny model with LoRA matrices that change its answer."""
    model = get_peft_model(tiny_model(key), LoraConfig(r=4, lora_alpha=8, target_modules=target_modules))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    return model.eval()


@keys
@pytest.mark.parametrize("layers", ["linear", "convolutions"])
def test_lora_trains_every_matrix_and_merging_keeps_the_answer(key, layers):
    plain, inputs = tiny_model(key), tiny_inputs(key)
    targets = "all-linear"
    if layers == "convolutions":
        targets = [name for name, part in plain.named_modules() if isinstance(part, torch.nn.Conv2d)]
        if not targets:
            pytest.skip("no convolutions")
    model = adapted(key, targets)
    adapted_logits = logits_of(model, inputs)
    scale = adapted_logits.abs().max().item()
    assert (adapted_logits - logits_of(plain, inputs)).abs().max() > 1e-3 * scale
    merged = copy.deepcopy(model).merge_and_unload().eval()
    torch.testing.assert_close(logits_of(merged, inputs), adapted_logits, rtol=1e-5, atol=1e-5 * scale)
    model.train()(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    matrices = {name: p for name, p in model.named_parameters() if "lora_" in name}
    assert len(matrices) >= 2 and [name for name, p in matrices.items() if p.grad is None] == []


@keys
def test_offloaded_to_the_disk_gives_the_same_logits(key, tmp_path):
    inputs = tiny_inputs(key)
    model = accelerate.disk_offload(tiny_model(key), str(tmp_path), execution_device=torch.device("cpu"))
    assert any(parameter.is_meta for parameter in model.parameters())
    torch.testing.assert_close(
        logits_of(model, inputs), logits_of(tiny_model(key), inputs), rtol=1e-6, atol=1e-6
    )


@keys
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dynamically_quantized_gives_nearly_the_same_logits(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    expected = logits_of(model, inputs)
    assert not any(type(part) is torch.nn.Linear for part in quantized.modules())
    assert (logits_of(quantized, inputs) - expected).abs().max() < 0.1 * expected.abs().max()


@keys
def test_hooks_on_all_leaf_modules_fire(key):
    model, fired = tiny_model(key), set()
    leaves = {name: part for name, part in model.named_modules() if not list(part.children())}
    for name, part in leaves.items():
        part.register_forward_hook(lambda *_, name=name: fired.add(name))
    logits_of(model, tiny_inputs(key))
    assert set(leaves) - fired == set()
