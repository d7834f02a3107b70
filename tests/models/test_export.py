"""Every architecture through torch.compile, torch.export and ONNX, on tiny configurations."""

import numpy as np
import pytest
import torch

from mer_hf.hub.onnx_export import Logits
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_inputs, tiny_model

keys = pytest.mark.parametrize("key", ARCHITECTURES)
one_quick_key = pytest.mark.parametrize(
    "key", [key if key == "mmnet" else pytest.param(key, marks=pytest.mark.slow) for key in ARCHITECTURES]
)


def expected(model, inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


@keys
def test_exported_programs_take_any_batch(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = ({0: batch},) * len(inputs)
    with torch.no_grad():
        program = torch.export.export(
            Logits(model, tuple(inputs)), tuple(inputs.values()), dynamic_shapes={"tensors": shapes}
        ).module()
        for repeats in (1, 3):
            more = {name: tensor.repeat(repeats, *[1] * (tensor.ndim - 1)) for name, tensor in inputs.items()}
            found = program(*more.values())
            torch.testing.assert_close(found, expected(model, more), rtol=1e-4, atol=1e-5)


@one_quick_key
def test_onnx_gives_equal_outputs(key, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs = tiny_model(key), tiny_inputs(key)
    path = tmp_path / "model.onnx"
    with torch.no_grad():
        program = torch.onnx.export(
            Logits(model, tuple(inputs)), tuple(inputs.values()), dynamo=True, verbose=False, optimize=True
        )
    program.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs.values(), strict=True)}
    (found,) = session.run(None, feeds)
    np.testing.assert_allclose(found, expected(model, inputs).numpy(), rtol=0, atol=1e-4)


@one_quick_key
def test_the_whole_network_compiles_as_one_graph(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    torch._dynamo.reset()
    # The graph is what can break; which backend then makes code of it does not matter here.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(**inputs).logits, expected(model, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@keys
def test_the_compiled_network_agrees(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(**inputs).logits, expected(model, inputs), rtol=1e-4, atol=1e-5)
    labels = torch.tensor([0, 2])
    gradients = []
    for each in (compiled.train(), model.train()):
        model.zero_grad()
        each(**inputs, labels=labels).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for gradient, wanted in zip(*gradients, strict=True):
        # Sums of a batch norm over two samples amplify rounding.
        atol = 1e-4 + 1e-2 * wanted.abs().max().item()
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=atol)
