"""Compare what networks train on with what they meet, and the speed of drawing with that of learning.

Agreement: the bundled HTNet on flow maps straight from the generator, and on maps from clips of other people
with the same mix of expressions (tracked, aligned, optical flow), with the true onset and apex and with the
spotted ones. Speed: milliseconds to draw a sample, and to learn from it.
"""

from dataclasses import replace
from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks.held_out import HELD_OUT_SEED
from mer_hf.evaluation.clip_sets import TestClip, render_test_clip
from mer_hf.evaluation.evaluate import predict_flow_maps
from mer_hf.inference.pipeline import MicroExpressionPipeline
from mer_hf.loading import load
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import SyntheticFaces

CLIPS = 90
EVEN = (1 / 3, 1 / 3, 1 / 3)


def agreement(clips: int = CLIPS) -> dict[str, float]:
    """Return the share of right answers on maps of both kinds, on expressions of 0.5 to 4 px."""
    pipe = MicroExpressionPipeline.from_pretrained("htnet")
    settings = replace(FlowMapSettings(), class_shares=EVEN, filmed=1.0, tvl1=0.0, peak_px=(0.5, 4.0))
    data = SyntheticFlowMaps(HELD_OUT_SEED, 4 * clips, settings)
    samples = [data[index] for index in range(4 * clips)]
    answers = predict_flow_maps(pipe.model, pipe.processor, np.stack([each["flow"] for each in samples]))
    labels = np.array([each["label"] for each in samples])
    right = {"true": [], "spotted": []}
    for index in range(clips):
        known, label = render_test_clip(TestClip(), HELD_OUT_SEED, index)
        track = pipe.track(known.clip)
        phases = {name: getattr(known, name) for name in ("onset", "apex", "offset")}
        true = pipe.spot(track, known.clip.timestamps_s, **phases)
        spotted = pipe.spot(track, known.clip.timestamps_s)
        for name, phases in (("true", true), ("spotted", spotted)):
            said = pipe.classify(track, phases, known.clip.timestamps_s)
            best = list(said.scores.values())
            right[name].append(len(set(best)) > 1 and int(np.argmax(best)) == label)
    return {
        "right, maps of the generator": float((answers.argmax(axis=1) == labels).mean()),
        "right, maps from clips, true onset and apex": float(np.mean(right["true"])),
        "right, maps from clips, spotted": float(np.mean(right["spotted"])),
        "clips": clips,
    }


def _seconds(work, repeats: int = 5) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times)


def speed(batch_size: int = 32) -> dict[str, float]:
    """Return milliseconds to draw a sample, and to learn from one."""
    result = {}
    maps, faces = SyntheticFlowMaps(1, 10**6), SyntheticFaces(1, 10**6)
    for name, data in (("map", maps), ("face", faces)):
        result[f"draw one {name}, ms"] = 1e3 * _seconds(lambda data=data: [data[i] for i in range(16)]) / 16
    for key in ("htnet", "mmnet", "hsta", "facesleuth"):
        model, processor = load(key)
        model.train()
        clip = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
        inputs = processor(images=[clip] * batch_size, onset=0, apex=4, offset=7, return_tensors="pt")
        labels = torch.zeros(batch_size, dtype=torch.long)

        def step(model=model, inputs=inputs, labels=labels):
            model.zero_grad()
            model(**inputs, labels=labels).loss.backward()

        result[f"learn from one sample, {key}, ms"] = 1e3 * _seconds(step) / batch_size
    return result


def run() -> dict:
    """Return both."""
    return agreement() | speed()
