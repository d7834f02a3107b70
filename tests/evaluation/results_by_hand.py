"""Results of test clips that no checkpoint gave."""

import numpy as np

from mer_hf.evaluation.clip_results import ClipResult
from mer_hf.evaluation.clip_sets import SILENT, TestClip
from mer_hf.inference.calibration import FEATURES


def result(
    label, logits, *, kind="expression", row=("", ""), outcome="micro_expression", motion=0.0, **changes
):
    fields = {"activations": {"AU12": (1.0, 1.0)}, "peak_px": 2.0, "face": "person-0"} | changes
    scores = np.exp(logits) / np.exp(logits).sum()
    features = dict.fromkeys(FEATURES, 0.0) | {"motion": motion}
    test = TestClip(kind, row=row)
    return ClipResult(
        test=test, label=label, outcome=outcome, scores=scores, logits=logits, features=features, **fields
    )


def drawn(rng, kind, label, sure):
    """Draw a result of a network that is right seven times in ten and says so nine times in ten."""
    motion = rng.normal(1.5 if kind == "expression" else 0.0, 0.4)
    right = label if rng.random() < 0.7 else (label + 1) % 3
    row = ("size", "1") if kind == "expression" else ("silent", kind)
    return result(label, np.where(np.arange(3) == right, sure, 0.0), kind=kind, row=row, motion=motion)


def many():
    """Draw 300 expressions and 40 clips of each kind without one."""
    rng = np.random.default_rng(0)
    shown = [drawn(rng, "expression", int(rng.integers(3)), 4.0) for _ in range(300)]
    return shown + [drawn(rng, kind, -1, 2.0) for kind in SILENT for _ in range(40)]
