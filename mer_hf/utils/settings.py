"""What a checkpoint's settings may hold: types from the classes that take them, ranges around defaults."""

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from huggingface_hub.errors import StrictDataclassError

from .untrusted import check_kinds, in_one_line, read_json, shown

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
MOST_SETTINGS_BYTES = 1_000_000
MOST_CLASSES, MOST_NAME, MOST_ENTRIES = 1000, 100, 64
MOST_TIMES = 8
"""A size may be so many times that of the published network."""
MOST_SIDE = 448
"""Pixels: twice the published 224."""
RANGES = {
    r"(image_)?size": (1, MOST_SIDE), r"crop_centers_rc": (0, MOST_SIDE), r".*_eps": (1e-12, 0.1),
    r".*_(prob|rate|range|threshold)": (0, 1), r".*_angle": (-360, 360), r".*_(mean|std|gain)": (0, 100),
    r"(swin_)?mlp_ratio": (0.1, None), r"num_action_units|.*depths": (0, None), r"seed": (0, 2**63 - 1),
    r"num_labels|max_frames": (1, 1000), r"average_frames": (1, 64),
}  # fmt: skip
"""Pattern of a field's name -> least and most; None for `MOST_TIMES` its default. Others begin at 0 or 1."""
PROBLEMS = Literal["regression", "single_label_classification", "multi_label_classification"]
TAKEN = {
    "architectures": list[str] | None, "auto_map": dict[str, str] | None, "transformers_version": str | None,
    "id2label": dict[str, str] | None, "label2id": dict[str, int] | None, "num_labels": int | None,
    "problem_type": PROBLEMS | None, "dtype": Literal["float32", "float16", "bfloat16", "float64"] | None,
}  # fmt: skip
"""Fields of every configuration that are taken from a file; its others have no use here and are left out."""
GEOMETRY = {"size": int, "eye_row": float, "interocular_fraction": float}


def folder_of(name: str, checkpoints: Path) -> Path:
    """Return the folder of a bundled checkpoint, by its name or its architecture's; another name as it is."""
    bundled = (checkpoints / name, checkpoints / f"{name}-synthetic")
    return next((folder for folder in bundled if (folder / CONFIG).is_file()), Path(name))


def _parameters(made: type) -> dict[str, tuple[Any, Any]]:
    """Return what a configuration or an image processor takes from a file: name -> type and default."""
    if not hasattr(made, "model_type"):
        parameters = inspect.signature(made).parameters.values()
        return {p.name: (p.annotation, p.default) for p in parameters if p.kind is not p.VAR_KEYWORD}
    own, defaults = inspect.get_annotations(made) | TAKEN, made().to_dict()
    fields = {name: kind for name, kind in own.items() if typing.get_origin(kind) is not ClassVar}
    return {name: (kind, defaults.get(name)) for name, kind in fields.items()}


def check_settings(made: type, values: Mapping[str, Any], where: str) -> None:
    """Raise `ValueError`, in one line, if a value has another type or is out of range.

    Args:
        made (`type`): The configuration or image processor that takes the values.
        values (`Mapping[str, Any]`): As in its JSON file; names that it does not take are not checked.
        where (`str`): The file or flag, for the message.
    """
    taken = {name: each for name, each in _parameters(made).items() if name in values}
    check_kinds(values, {name: kind for name, (kind, _) in taken.items()}, where)
    for name, (_, default) in taken.items():
        numbers = list(_numbers(values[name]))
        least, most = _range(name, list(_numbers(default)), numbers)
        if wrong := [number for number in numbers if not least <= number <= most]:
            raise ValueError(f"{where}: {name} must lie in {least} to {most}, got {shown(wrong[0])}.")
        if isinstance(values[name], list) and len(values[name]) > MOST_ENTRIES:
            raise ValueError(f"{where}: {name} has more than {MOST_ENTRIES} entries.")
    if values.get("id2label") is not None:
        _check_classes(values, where)
    if values.get("face_geometry") is not None:
        _check_geometry(values["face_geometry"], f"{where}: face_geometry")


def _check_classes(values: Mapping[str, Any], where: str) -> None:
    """Refuse classes that are not numbered from 0, share a name, or contradict the other fields."""
    names, count = list(values["id2label"].values()), len(values["id2label"])
    if not 2 <= count <= MOST_CLASSES or set(values["id2label"]) != set(map(str, range(count))):
        raise ValueError(f"{where}: id2label must number 2 to {MOST_CLASSES} classes from 0.")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: id2label names two classes {shown(name)}. Their names must differ.")
        if not name.strip() or not name.isprintable() or len(name) > MOST_NAME:
            raise ValueError(f"{where}: names of classes have 1 to {MOST_NAME} letters, got {shown(name)}.")
    indices = {name: int(index) for index, name in values["id2label"].items()}
    for field, allowed in (("label2id", indices), ("num_labels", count)):
        if values.get(field) not in (None, allowed):
            raise ValueError(f"{where}: {field} does not fit id2label, got {shown(values[field])}.")


def _check_geometry(geometry: dict[str, Any], where: str) -> None:
    """Refuse a crop of faces with other fields than `GEOMETRY`; `FaceGeometry` knows their ranges."""
    if extra := sorted(set(geometry) - set(GEOMETRY)):
        raise ValueError(f"{where} has no {shown(extra[0])}, only {', '.join(GEOMETRY)}.")
    check_kinds(geometry, {name: GEOMETRY[name] for name in geometry}, where)


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in a value, also those in lists."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)


def _range(name: str, defaults: list[float], numbers: list[float]) -> tuple[float, float]:
    """Return the least and the most that the numbers of a field may be."""
    known = (bounds for pattern, bounds in RANGES.items() if re.fullmatch(pattern, name))
    least, most = next(known, (int(all(isinstance(number, int) for number in numbers)), None))
    return least, MOST_TIMES * max(defaults, default=MOST_SIDE) if most is None else most


def read_settings_of(made: type, folder: Path) -> Any:
    """Make the configuration, or the image processor, in a folder after checking all that it takes.

    Raises:
        ValueError: In one line, if a field has another type, is out of range, or does not fit the others.
    """
    path = folder / (CONFIG if hasattr(made, "model_type") else PROCESSOR)
    values = read_json(path, most_bytes=MOST_SETTINGS_BYTES)
    check_settings(made, values, str(path))
    known = {name: values[name] for name in _parameters(made) if name in values}
    try:
        return made(**{n: value for n, value in known.items() if value is not None or n not in TAKEN})
    except (ValueError, TypeError, ArithmeticError, StrictDataclassError) as error:
        lines = str(error).strip().splitlines()  # a strict configuration says the reason last
        reason = lines[-1].strip() if isinstance(error, StrictDataclassError) else in_one_line(error)
        raise ValueError(f"{path}: {reason.removeprefix('ValueError: ')}") from error
