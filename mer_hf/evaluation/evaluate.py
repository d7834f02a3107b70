"""Scores a checkpoint on a file of ready-made flow maps, and keeps a log of every look at such a file."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mer_hf.data.flow_files import FlowMaps
from mer_hf.loading import takes_flow_maps, weights_sha256
from mer_hf.utils.provenance import git_commit, sha256_of

from .metrics import accuracy_of, confusion, f1_of, subject_bootstrap, uar_of, uf1_of


def predict_flow_maps(model, processor, flow: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Class probabilities of ready-made flow maps.

    Args:
        model (`PreTrainedModel`): A classifier that takes `pixel_values`; it is put in evaluation mode.
        processor (`BaseImageProcessor`): Its image processor; it must take `flow_maps`.
        flow (`np.ndarray` of shape `(N, 28, 28, 3)`): uint8, channels (u, v, strain).
        batch_size (`int`, *optional*, defaults to 64): Maps per forward pass.

    Returns:
        `np.ndarray` of shape `(N, num_labels)`: float32, each row summing to 1.

    Raises:
        ValueError: If the network looks at faces and not at flow maps.
    """
    if not takes_flow_maps(processor):
        raise ValueError(
            f"a {model.config.model_type} looks at faces, which cannot be made from flow maps. "
            "Choose an htnet."
        )
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(flow), batch_size):
            inputs = processor(flow_maps=flow[start : start + batch_size], return_tensors="pt")
            logits = model(pixel_values=inputs["pixel_values"].to(model.device)).logits
            parts.append(logits.float().softmax(dim=-1).cpu().numpy())
    return np.concatenate(parts)


def _scores(matrix: np.ndarray, classes: list[str]) -> dict[str, Any]:
    return {
        "clips": int(matrix.sum()),
        "uf1": float(uf1_of(matrix)),
        "uar": float(uar_of(matrix)),
        "accuracy": float(accuracy_of(matrix)),
        "per_class_f1": dict(zip(classes, f1_of(matrix).tolist(), strict=True)),
        "confusion": matrix.tolist(),
    }


def evaluate_flow_maps(
    model, processor, data: FlowMaps, batch_size: int = 64, draws: int = 2000, name: str | None = None
) -> dict[str, Any]:
    """Score a classifier on labelled flow maps.

    Args:
        model (`PreTrainedModel`): A classifier that takes `pixel_values`.
        processor (`BaseImageProcessor`): Its image processor; it must take `flow_maps`.
        data ([`FlowMaps`]): Maps, labels in the model's class order, subjects and data sets.
        batch_size (`int`, *optional*, defaults to 64): Maps per forward pass.
        draws (`int`, *optional*, defaults to 2000): Draws of the bootstrap over subjects.
        name (`str`, *optional*): The model's name in the result; by default where it was loaded from.

    Returns:
        `dict`: Plain numbers, lists and strings: `model`, `file`, `classes`, `clips`, `subjects`, `uf1`,
        `uar`, `accuracy`, `per_class_f1` (class -> F1), `confusion` (rows true, columns predicted),
        `uf1_interval` and `uar_interval` (95 % over subjects; None for fewer than two), `bootstrap_draws`,
        and `per_dataset` (the same pooled predictions, split).

    Raises:
        ValueError: If a label is not one of the model's classes.
    """
    num_classes = model.config.num_labels
    if data.label.max() >= num_classes:
        raise ValueError(
            f"label {data.label.max()} is not one of the model's {num_classes} classes "
            f"({', '.join(model.config.id2label.values())}). Evaluate a model of the same class scheme."
        )
    classes = [model.config.id2label[index] for index in range(num_classes)]
    predictions = predict_flow_maps(model, processor, data.flow, batch_size).argmax(axis=1)
    persons = np.array([f"{a}/{b}" for a, b in zip(data.dataset, data.subject, strict=True)])
    result = {
        "model": name or model.config._name_or_path,
        "file": data.source,
        "classes": classes,
        "subjects": len(np.unique(persons)),
        **_scores(confusion(predictions, data.label, num_classes), classes),
        "bootstrap_draws": draws,
        "per_dataset": {},
    }
    for key, metric_of in (("uf1_interval", uf1_of), ("uar_interval", uar_of)):
        enough = result["subjects"] > 1
        arguments = (metric_of, predictions, data.label, persons, num_classes, draws)
        result[key] = list(subject_bootstrap(*arguments)) if enough else None
    for dataset in np.unique(data.dataset):
        chosen = data.dataset == dataset
        matrix = confusion(predictions[chosen], data.label[chosen], num_classes)
        subjects = len(np.unique(persons[chosen]))
        result["per_dataset"][str(dataset)] = {"subjects": subjects, **_scores(matrix, classes)}
    return result


def format_evaluation(result: dict[str, Any]) -> str:
    """The result of [`evaluate_flow_maps`] as a plain-text table for people."""

    def interval(key: str) -> str:
        return "{:.3f} to {:.3f}".format(*result[key]) if result.get(key) else "-"

    lines = [f"model {result['model']}", f"file  {result['file']}", ""]
    lines.append(f"{'':12}{'clips':>6}{'subjects':>10}{'uf1':>8}{'uar':>8}{'accuracy':>10}")
    for name, part in [("all", result), *result["per_dataset"].items()]:
        lines.append(
            f"{name:12}{part['clips']:6d}{part['subjects']:10d}"
            f"{part['uf1']:8.3f}{part['uar']:8.3f}{part['accuracy']:10.3f}"
        )
    lines += ["", f"95 % interval over subjects ({result['bootstrap_draws']} draws)"]
    lines += [f"  uf1 {interval('uf1_interval')}", f"  uar {interval('uar_interval')}", ""]
    lines.append(f"{'true':12}{'f1':>6}   predicted:" + "".join(f"{name:>12}" for name in result["classes"]))
    for name, row in zip(result["classes"], result["confusion"], strict=True):
        counts = "".join(f"{count:12d}" for count in row)
        lines.append(f"{name:12}{result['per_class_f1'][name]:6.3f}{'':13}{counts}")
    return "\n".join(lines)


def look_record(model, data: FlowMaps, result: dict[str, Any]) -> dict[str, Any]:
    """What one look at a file of maps leaves in the log.

    Args:
        model (`PreTrainedModel`): The model that was scored.
        data ([`FlowMaps`]): What it was scored on, read from a file.
        result (`dict`): What [`evaluate_flow_maps`] returned.

    Returns:
        `dict`: `time` (UTC), `commit`, `weights_sha256`, `file_sha256`, then the result.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "weights_sha256": weights_sha256(model),
        "file_sha256": sha256_of(data.source),
        **result,
        "file": Path(data.source).name,  # a log is shared, and where the file lay is nobody's business
    }


def append_log(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Append one JSON line to a log; what stands in it is never touched.

    Args:
        path (`str` or `os.PathLike`): Made, with its folders, if it does not exist.
        record (`dict`): Anything JSON can hold.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record) + "\n"
    # One write to a file opened for appending: two looks at the same time do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
