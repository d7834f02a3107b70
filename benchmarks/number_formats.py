"""Measure the networks in other number formats beside float32: bfloat16, `torch.compile`, ONNX with 8 bits.

    python -m benchmarks number_formats
    python -m benchmarks.number_formats --architectures htnet --sizes bundled --batches 1 --within-s 2

All formats take turns on the same inputs, on 2 threads. Bundled networks answer synthetic samples; networks
of the published size have random weights and inputs, so there only the speed and the largest difference of
probabilities say something. A bfloat16 that the processor does not compute itself is slow.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks._clock import in_turns, rounded, script
from benchmarks.networks import THREADS, both, floor, flops_of, inputs_of, rates
from mer_hf.hub.onnx_export import INT8, MODEL, export_onnx, missing_package, synthetic_inputs
from mer_hf.inference.optimize import optimize_for_inference
from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES

SIZES = ("bundled", "published")
SECONDS = 20.0
Network = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
"""Takes inputs in float32 and gives logits in float32."""


def network_of(model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> Network:
    """Return a model as a function; inputs are converted within it."""
    return lambda inputs: model(**{name: each.to(dtype) for name, each in inputs.items()}).logits.float()


def onnx_network(path: Path) -> Network:
    """Return an ONNX file as a function."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    # Threads that wait busily take the cores from whatever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(
        session.run(["logits"], {name: each.numpy() for name, each in inputs.items()})[0]
    )


def formats_of(
    model: torch.nn.Module, checkpoint: str | None, folder: Path, compiled: bool
) -> dict[str, Network]:
    """Return a network in all formats, float32 first."""
    quick = optimize_for_inference(model)
    half = optimize_for_inference(copy.deepcopy(model).to(torch.bfloat16))
    found = {"float32": network_of(quick), "bfloat16": network_of(half, torch.bfloat16)}
    if compiled:
        torch.compiler.reset()
        found["compiled"] = network_of(torch.compile(quick))
    if checkpoint and not missing_package():
        export_onnx(checkpoint, folder / checkpoint, int8=True)
        found |= {"onnx": onnx_network(folder / checkpoint / MODEL)}
        found |= {"onnx_int8": onnx_network(folder / checkpoint / INT8)}
    return found


@torch.inference_mode()
def compare(networks: dict[str, Network], inputs: Mapping[str, torch.Tensor], within_s: float) -> dict:
    """Return clips per second, speed-up and agreement with float32 of each format."""
    result, answers = {}, {}
    for name, network in list(networks.items()):
        started = time.perf_counter()
        try:
            answers[name] = network(inputs).softmax(-1)
        except Exception as error:  # a compiler that is missing raises exceptions of many kinds
            result[f"{name}_failed"] = " ".join(str(error).split())[:120]
            del networks[name]
            continue
        result[f"{name}_first_call_s"] = time.perf_counter() - started
        found, expected = answers[name], answers["float32"]
        result[f"{name}_same_class"] = (found.argmax(1) == expected.argmax(1)).double().mean().item()
        result[f"{name}_probability_difference"] = (found - expected).abs().max().item()
    spent = in_turns({name: lambda n=network: n(inputs) for name, network in networks.items()}, within_s)
    for name, each_s in spent.items():
        result[f"{name}_clips_per_s"] = len(expected) / each_s
        result[f"{name}_speed_up"] = spent["float32"] / each_s
    return result


def measure(
    key: str, size: str, batches: tuple[int, ...], folder: Path, within_s: float, compiled: bool
) -> dict:
    """Return the comparisons of one network in one size."""
    if size == "bundled":
        model, processor = load(key)
        networks = formats_of(model, key, folder, compiled)
        samples = synthetic_inputs(processor, max(batches))
    else:
        model = both(key)[0]
        networks = formats_of(model, None, folder, compiled)
        samples = inputs_of(key, model.config, max(batches))
    result = {}
    for batch in batches:
        found = compare(dict(networks), {n: t[:batch].contiguous() for n, t in samples.items()}, within_s)
        result |= {f"{key}_{size}_batch{batch}_{field}": value for field, value in found.items()}
    return result


def run(
    architectures: tuple[str, ...] = tuple(ARCHITECTURES),
    sizes: tuple[str, ...] = SIZES,
    batches: tuple[int, ...] = (1, 32),
    within_s: float = SECONDS,
    compile_sizes: tuple[str, ...] = SIZES,
) -> dict:
    """Return all comparisons, and the floor of each network of the published size in bfloat16.

    Compiling takes minutes for each batch of each network, most of all in the published size.
    """
    torch.set_num_threads(THREADS)
    speed = rates(torch.bfloat16)
    result: dict = {"threads": THREADS} | {f"bfloat16_{name}": value for name, value in speed.items()}
    with tempfile.TemporaryDirectory() as folder:
        for key in architectures:
            for size in sizes:
                result |= measure(key, size, batches, Path(folder), within_s, size in compile_sizes)
            if "published" in sizes:
                ours, base = both(key)
                flops = flops_of(base, inputs_of(key, ours.config, 1))
                least_s, _ = floor(key, ours.to(torch.bfloat16), flops, speed)
                result[f"{key}_published_bfloat16_floor_s"] = least_s
    return rounded(result)


if __name__ == "__main__":
    script(run)
