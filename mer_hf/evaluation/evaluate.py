"""Score a checkpoint on a file of ready-made flow maps, and keep a log of every look at such a file."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mer_hf.data.flow_files import FlowMaps
from mer_hf.loading import takes_flow_maps, weights_sha256
from mer_hf.utils.files import append_line
from mer_hf.utils.provenance import git_commit, sha256_of
from mer_hf.utils.rendering import render

from .metrics import DRAWS, METRICS, bootstrap_values, confusion, f1_of, interval_of

TEMPLATE = Path(__file__).parent / "templates" / "evaluation.txt.j2"


def predict_flow_maps(model, processor, flow: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Compute class probabilities of ready-made flow maps.

    Args:
        model (`PreTrainedModel`): A classifier that takes `pixel_values`; it is put in evaluation mode.
        processor (`BaseImageProcessor`): Its image processor; it must take `flow_maps`.
        flow (`np.ndarray` of shape `(N, 28, 28, 3)`): uint8, channels (u, v, strain).
        batch_size (`int`, *optional*, defaults to 64): Maps per forward pass.

    Returns:
        `np.ndarray` of shape `(N, num_labels)`: float32, each row summing to 1.

    Raises:
        ValueError: If the network takes faces and not flow maps.
    """
    if not takes_flow_maps(processor):
        raise ValueError(
            f"{model.config.model_type} takes faces, which cannot be made from flow maps. Choose an htnet."
        )
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(flow), batch_size):
            inputs = processor(flow_maps=flow[start : start + batch_size], return_tensors="pt")
            logits = model(pixel_values=inputs["pixel_values"].to(model.device)).logits
            parts.append(logits.float().softmax(dim=-1).cpu().numpy())
    probabilities = np.concatenate(parts)
    if not np.isfinite(probabilities).all():
        raise ValueError(f"{model.config._name_or_path} answered NaN or infinity: its weights are damaged.")
    return probabilities


def _scores(predictions: np.ndarray, labels: np.ndarray, subjects: np.ndarray, classes: list[str]) -> dict:
    """Return the metrics of some clips as plain numbers."""
    matrix = confusion(predictions, labels, len(classes))
    return {
        "clips": len(labels),
        "subjects": len(np.unique(subjects)),
        **{name: float(metric_of(matrix)) for name, metric_of in METRICS.items()},
        "per_class_f1": dict(zip(classes, f1_of(matrix).tolist(), strict=True)),
        "confusion": matrix.tolist(),
    }


def evaluate_flow_maps(
    model, processor, data: FlowMaps, batch_size: int = 64, name: str | None = None
) -> dict[str, Any]:
    """Score a classifier on labelled flow maps.

    Args:
        model (`PreTrainedModel`): A classifier that takes `pixel_values`.
        processor (`BaseImageProcessor`): Its image processor; it must take `flow_maps`.
        data ([`FlowMaps`]): Maps, labels in the model's class order, subjects and datasets.
        batch_size (`int`, *optional*, defaults to 64): Maps per forward pass.
        name (`str`, *optional*): The model's name in the result; by default where it was loaded from.

    Returns:
        `dict`: Plain numbers, lists and strings: `model`, `file`, `classes`, `clips`, `subjects`, `uf1`,
        `uar`, `accuracy`, `per_class_f1` (class -> F1), `confusion` (rows true, columns predicted),
        `uf1_interval` and `uar_interval` (95 % over subjects; None for fewer than two), `bootstrap_draws`,
        and `per_dataset` (the same pooled predictions, split).

    Raises:
        ValueError: If a label is not one of the model's classes.
    """
    classes = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if data.label.max() >= len(classes):
        raise ValueError(
            f"label {data.label.max()} is not one of the model's {len(classes)} classes "
            f"({', '.join(classes)}). Evaluate a model of the same class scheme."
        )
    predictions = predict_flow_maps(model, processor, data.flow, batch_size).argmax(axis=1)
    clips = predictions, data.label, data.table(tuple(classes)).subjects
    parts = {part: [each[data.dataset == part] for each in clips] for part in np.unique(data.dataset)}
    result = {
        "model": name or model.config._name_or_path,
        "file": data.source,
        "classes": classes,
        **_scores(*clips, classes),
        "bootstrap_draws": DRAWS,
        "per_dataset": {str(part): _scores(*own, classes) for part, own in parts.items()},
        "uf1_interval": None,
        "uar_interval": None,
    }
    if result["subjects"] > 1:
        for metric in ("uf1", "uar"):
            values = bootstrap_values(METRICS[metric], *clips, len(classes))
            result[f"{metric}_interval"] = list(interval_of(values))
    return result


def format_evaluation(result: dict[str, Any]) -> str:
    """Return the result of [`evaluate_flow_maps`] as a plain-text table."""
    rows = {"all": result, **result["per_dataset"]}
    return render(TEMPLATE, result | {"rows": rows}).rstrip()


def look_record(model, data: FlowMaps, result: dict[str, Any]) -> dict[str, Any]:
    """Return what one look at a file leaves in the log: time (UTC), commit, hashes, then the result."""
    hashes = {"weights_sha256": weights_sha256(model), "file_sha256": sha256_of(data.source)}
    # Logs are shared, and local paths are private.
    return look() | hashes | result | {"file": Path(data.source).name}


def look() -> dict[str, Any]:
    """Return when (UTC) and with which code somebody looks at data."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": git_commit()}


def append_log(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Append a record to a log as one JSON line; the file and its folders are made if necessary."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, json.dumps(record))
