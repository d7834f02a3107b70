"""Write a checkpoint as ONNX: the network without PyTorch, and beside it all that its input and output mean.

session = onnxruntime.InferenceSession("out/model.onnx")
(logits,) = session.run(None, {"pixel_values": pixel_values})
"""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from mer_hf import __version__
from mer_hf.loading import file_beside, load, takes_flow_maps
from mer_hf.training.samples import Faces, FlowMapSamples
from mer_hf.utils.files import replacing
from mer_hf.utils.rendering import render

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 20
MODEL, INT8 = "model.onnx", "model_int8.onnx"
FURTHER = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json", "calibration.json")
"""Files that say what goes in and what comes out."""
SEED, SAMPLES, BATCH = 2**31 + 5, 60, 20
"""The synthetic samples on which the files are compared: no run trains on their people."""
TOLERANCE = 1e-4
CARD = Path(__file__).parent / "templates" / "onnx.md.j2"


class Logits(torch.nn.Module):
    """A classifier that takes tensors by position and gives its logits."""

    def __init__(self, model, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names
        self.train(model.training)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return class scores `(B, num_labels)` of the inputs in the order of `names`."""
        return self.model(**dict(zip(self.names, tensors, strict=True))).logits


def export_onnx(name: str | Path, folder: str | Path, int8: bool = False) -> str:
    """Write a checkpoint as ONNX, with settings and a card, and compare its answers with PyTorch's.

    Args:
        name (`str` or `Path`): A bundled checkpoint, a folder, or `owner/name[@revision]` on the Hub.
        folder (`str` or `Path`): The folder to make.
        int8 (`bool`, *optional*, defaults to `False`): Whether to write `model_int8.onnx` too, a quarter of
            the size, with weights of 8 bits.

    Returns:
        `str`: What was written, and how well it agrees.

    Raises:
        ValueError: If the folder exists, or the exported network answers otherwise.
        ImportError: If the packages of the extra `onnx` are missing.
    """
    if missing := missing_package():
        raise ImportError(f"{missing} is not installed. Run pip install 'mer_hf[onnx]'.")
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists. Name a folder that does not.")
    if not folder.parent.is_dir():
        raise ValueError(f"the folder {folder.parent} does not exist. Make it first.")
    model, processor = load(name)
    inputs = synthetic_inputs(processor, SAMPLES)
    with replacing(folder) as made:
        made.mkdir()
        _write(model, inputs, made / MODEL)
        if int8:
            _quantize(made / MODEL, made / INT8)
        compared = {file.name: compare(model, inputs, file) for file in sorted(made.glob("*.onnx"))}
        if (off := compared[MODEL]["largest_difference"]) > TOLERANCE:
            raise ValueError(
                f"the exported network is off by {off:.1g} in its logits, so nothing was written."
            )
        for extra in FURTHER:
            if source := file_beside(model, extra):
                shutil.copyfile(source, made / extra)
        shapes = {name: ["batch", *tensor.shape[1:]] for name, tensor in inputs.items()}
        facts = {"opset": OPSET, "inputs": shapes, "classes": model.config.id2label, "compared": compared}
        (made / "onnx.json").write_text(json.dumps(facts, indent=1) + "\n")
        values = {"kind": type(model).__name__, "version": __version__, "lines": _lines(compared)}
        (made / "README.md").write_text(render(CARD, values | {"facts": facts}))
    return "\n".join([f"Written to {folder}: opset {OPSET}.", *_lines(compared)])


def missing_package() -> str | None:
    """Return the package of the extra `onnx` that is not installed, if there is one."""
    return next((name for name in PACKAGES if importlib.util.find_spec(name) is None), None)


def synthetic_inputs(processor, count: int) -> dict[str, torch.Tensor]:
    """Return the input tensors of `count` synthetic samples, float32."""
    kind = FlowMapSamples(processor) if takes_flow_maps(processor) else Faces(processor)
    view = kind.view(SEED, count)
    rows = [view[index] for index in range(count)]
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {name: tensor.float() for name, tensor in kind.inputs(arrays).items()}


def _write(model, inputs: dict[str, torch.Tensor], path: Path) -> None:
    """Export the logits for any batch."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad():
        program = torch.onnx.export(
            Logits(model, tuple(inputs)),
            tuple(tensor[:2] for tensor in inputs.values()),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={"tensors": ({0: batch},) * len(inputs)},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where the code lies on this machine
    program.save(path, external_data=False)


def _quantize(source: Path, target: Path) -> None:
    """Write the network with weights of 8 bits; what lies between stays float32."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def compare(model, inputs: dict[str, torch.Tensor], path: Path) -> dict[str, float]:
    """Return the largest difference of logits from PyTorch's, and the share of samples of the same class."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found, expected = [], []
    for start in range(0, len(inputs["pixel_values"]), BATCH):
        part = {name: tensor[start : start + BATCH] for name, tensor in inputs.items()}
        found.append(session.run(["logits"], {name: tensor.numpy() for name, tensor in part.items()})[0])
        with torch.no_grad():
            expected.append(model(**part).logits.numpy())
    found, expected = np.concatenate(found), np.concatenate(expected)
    return {
        "largest_difference": float(np.abs(found - expected).max()),
        "same_class": float((found.argmax(1) == expected.argmax(1)).mean()),
        "megabytes": round(path.stat().st_size / 1e6, 2),
    }


def _lines(compared: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{name}: {row['megabytes']} MB, logits within {row['largest_difference']:.1g} of PyTorch's, the "
        f"same class in {row['same_class']:.0%} of {SAMPLES} synthetic samples"
        for name, row in compared.items()
    ]
