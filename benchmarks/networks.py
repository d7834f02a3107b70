"""Speed of the networks compared with their baselines, at the published sizes and with the same weights.

    python -m benchmarks networks
    python -m benchmarks.networks --architectures mmnet --batches 1 8     # a part of it

Our network, as `optimize_for_inference` returns it, and the baseline take turns in one process. Batch 1 is
also compared with the best that the machine can do: read the weights once, or multiply at the rate of a
matrix product or a convolution measured in the same run. On a GPU, float32 and bfloat16 are measured.
"""

import argparse
import importlib
import inspect
import json
import statistics
import sys
import time

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._clock import fresh
from mer_hf.inference.optimize import optimize_for_inference
from mer_hf.registry import ARCHITECTURES

THREADS = 2
SECONDS = 40.0
"""Approximate length of one comparison, which has three to thirty turns."""

CONVOLUTIONAL = {"mmnet", "facesleuth"}
"""Architectures that are compared with the rate of a convolution; the others with a matrix product."""

LARGEST_DIFFERENCE = 1e-4
"""Largest accepted difference of logits, relative to the largest logit."""


def base_line(key: str, config) -> torch.nn.Module:
    """Return the baseline of an architecture at the sizes of a configuration, with random weights."""
    module = importlib.import_module(f"benchmarks.baseline.{key}")
    name = ARCHITECTURES[key].classifier_class.__name__.removesuffix("ForVideoClassification")
    build = getattr(module, f"{name}Baseline")
    fields = set(inspect.signature(build).parameters) | set(getattr(module, "PUBLISHED", ())) | {"num_labels"}
    given = {field: getattr(config, field) for field in fields if hasattr(config, field)}
    torch.manual_seed(0)
    return build(**given).eval()


def both(key: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return our network at the published size and its baseline, with the same weights."""
    architecture = ARCHITECTURES[key]
    config = architecture.config_class()
    base = base_line(key, config)
    rename = importlib.import_module(architecture.convert_module).rename
    ours = architecture.classifier_class(config).eval()
    ours.load_state_dict(rename(base.state_dict()))
    return ours, base


def inputs_of(key: str, config, batch: int) -> dict[str, torch.Tensor]:
    """Return random inputs of an architecture."""
    generator = torch.Generator().manual_seed(1)
    size = config.image_size
    frames = {"htnet": (), "hsta": (getattr(config, "num_frames", 0) + 2,)}.get(key, (2,))
    inputs = {"pixel_values": torch.randn(batch, *frames, 3, size, size, generator=generator)}
    if getattr(config, "num_action_units", 0):
        bits = torch.rand(batch, config.num_action_units, generator=generator) < 0.15
        inputs["action_units"] = bits.float()
    return inputs


def rates(dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Return the best rates of this machine: reading, matrix products, convolutions."""
    numbers = torch.randn(100_000_000)
    square = torch.randn(2048, 2048, dtype=dtype)
    picture = torch.randn(4, 128, 56, 56, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(128, 128, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    convolution = 2 * 4 * 56 * 56 * 128 * 128 * 9
    return {
        "read_gb_per_s": 0.4 / _median(numbers.sum),
        "matrix_product_gflop_per_s": 2 * 2048**3 / 1e9 / _median(lambda: square @ square),
        "convolution_gflop_per_s": convolution / 1e9 / _median(lambda: F.conv2d(picture, kernel, padding=1)),
    }


def _median(call, repeats: int = 9) -> float:
    call()
    return statistics.median(_seconds(call) for _ in range(repeats))


def _seconds(call) -> float:
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(ours, base, inputs: dict[str, torch.Tensor], tolerance: float = LARGEST_DIFFERENCE) -> dict:
    """Time both in turns on the same inputs; raise a RuntimeError if their logits differ."""
    batch = len(inputs["pixel_values"])
    with torch.inference_mode():
        expected, found = base(**inputs), ours(**inputs).logits
        difference = ((expected - found).abs().max() / expected.abs().max()).item()
        if not difference <= tolerance:
            raise RuntimeError(f"logits differ by {difference:.2g} of the largest: nothing was compared.")
        once = _seconds(lambda: base(**inputs)) + _seconds(lambda: ours(**inputs))
        turns = [
            (_seconds(lambda: base(**inputs)), _seconds(lambda: ours(**inputs)))
            for _ in range(int(min(30, max(3, SECONDS / once))))
        ]
    ratios = sorted(b / o for b, o in turns)
    return {
        "clips_per_s": batch / statistics.median(o for _, o in turns),
        "base_line_clips_per_s": batch / statistics.median(b for b, _ in turns),
        "ratio": statistics.median(ratios),
        "ratio_lowest": ratios[0],
        "ratio_highest": ratios[-1],
        "turns": len(turns),
        "relative_difference_of_logits": difference,
    }


def flops_of(base, inputs: dict[str, torch.Tensor]) -> int:
    """Return the multiplications and additions of the baseline."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        base(**inputs)
    return counter.get_total_flops()


def floor(key: str, ours, flops: int, speed: dict[str, float]) -> tuple[float, str]:
    """Return the shortest possible time of one clip in seconds, and what limits it."""
    size = sum(p.numel() * p.element_size() for p in ours.parameters())
    rate = "convolution" if key in CONVOLUTIONAL else "matrix_product"
    times = {
        "reading the weights": size / 1e9 / speed["read_gb_per_s"],
        rate.replace("_", " "): flops / 1e9 / speed[f"{rate}_gflop_per_s"],
    }
    name = max(times, key=times.get)
    return times[name], name


def peak_memory_mb(key: str, who: str, batch: int) -> float:
    """Return the memory that a forward pass needs beside the network, measured in a separate process."""
    code = "import sys; from benchmarks.networks import _child; _child(*sys.argv[1:])"
    return float(fresh("-c", code, key, who, str(batch)).output.split()[-1])


def _child(key: str, who: str, batch: str) -> None:
    torch.set_num_threads(THREADS)
    ours, base = both(key)
    inputs = inputs_of(key, ours.config, int(batch))
    model = optimize_for_inference(ours) if who == "ours" else base
    del ours, base
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before = _status("VmRSS")
    with torch.inference_mode():
        model(**inputs)
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(name))


def run(architectures: list[str] | None = None, batches: tuple[int, ...] = (1, 32)) -> dict:
    """Return all comparisons, as flat numbers."""
    torch.set_num_threads(THREADS)
    speed = rates()
    result = {"threads": THREADS} | {name: round(value, 1) for name, value in speed.items()}
    for key in architectures or ARCHITECTURES:
        ours, base = both(key)
        flops = flops_of(base, inputs_of(key, ours.config, 1))
        result[f"{key}_parameters"] = ours.num_parameters()
        result[f"{key}_gflop_per_clip"] = round(flops / 1e9, 2)
        for batch in batches:
            found = compare(optimize_for_inference(ours), base, inputs_of(key, ours.config, batch))
            name = f"{key}_batch{batch}"
            result |= {f"{name}_{field}": _short(value) for field, value in found.items()}
            result[f"{name}_achieved_gflop_per_s"] = _short(flops / 1e9 * found["clips_per_s"])
            if sys.platform == "linux":
                for who in ("ours", "base"):
                    result[f"{name}_{who}_peak_mb"] = round(peak_memory_mb(key, who, batch))
        least, binding = floor(key, ours, flops, speed)
        if 1 in batches:
            result[f"{key}_batch1_floor_s"] = _short(least)
            result[f"{key}_batch1_floor_is"] = binding
            result[f"{key}_batch1_share_of_floor"] = _short(least * result[f"{key}_batch1_clips_per_s"])
        if torch.cuda.is_available():
            result |= _on_gpu(key, ours, base, batches)
        del ours, base
    return result


def _on_gpu(key: str, ours, base, batches: tuple[int, ...]) -> dict:
    """Return the comparisons on a GPU, in float32 and in bfloat16."""
    result = {}
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 0.3)):
        ours, base = ours.to("cuda", dtype), base.to("cuda", dtype)
        for batch in batches:
            inputs = {n: t.to("cuda", dtype) for n, t in inputs_of(key, ours.config, batch).items()}
            torch.cuda.reset_peak_memory_stats()
            found = compare(optimize_for_inference(ours), base, inputs, tolerance)
            name = f"{key}_gpu_{str(dtype).removeprefix('torch.')}_batch{batch}"
            result |= {f"{name}_{field}": _short(value) for field, value in found.items()}
            result[f"{name}_peak_mb_of_both"] = round(torch.cuda.max_memory_allocated() / 2**20)
    ours.to("cpu", torch.float32)
    return result


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Print a part of the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", choices=list(ARCHITECTURES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.architectures, tuple(arguments.batches)), indent=1))


if __name__ == "__main__":
    main()
