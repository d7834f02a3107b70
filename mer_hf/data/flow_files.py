"""Files of ready-made flow maps: the flow of real or synthetic clips from onset to apex.

Either an `.npz` file, or a folder of 28 x 28 RGB pictures, whose channels are (u, v, strain), with a list
`list.csv` that has the columns `file`, `label`, `subject` and `dataset`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mer_hf.labels import SCHEMES
from mer_hf.utils.files import replacing
from mer_hf.utils.untrusted import read_npz, read_records
from mer_hf.video.clip import read_picture

from .table import ClipTable

ARRAYS = ("flow", "label", "subject", "dataset")
MOST_CLASSES = 1000
LIST_COLUMNS = ("dataset", "file", "label", "subject")
KINDS = {"label": ("iu", "integers"), "subject": ("U", "strings"), "dataset": ("U", "strings")}
"""Array with one entry per map -> its kinds of dtype, and what these are called."""


@dataclass(frozen=True)
class FlowMaps:
    """Labelled flow maps.

    Attributes:
        flow (`np.ndarray` of shape `(N, 28, 28, 3)`): uint8, channels (u, v, strain).
        label (`np.ndarray` of shape `(N,)`): int64 class indices.
        subject (`np.ndarray` of shape `(N,)`): str, unique within a dataset.
        dataset (`np.ndarray` of shape `(N,)`): str.
        source (`str`): The file they were read from; `""` if there is none.
    """

    flow: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    dataset: np.ndarray
    source: str = ""

    def __len__(self) -> int:
        return len(self.label)

    def table(self, class_names: tuple[str, ...] | None = None) -> ClipTable:
        """Return the table of clips, with keys `dataset/subject/position in the file`.

        The classes default to the three of the composite, or to numbers if a label is 3 or more.
        """
        if class_names is None:
            highest = int(self.label.max())
            names = SCHEMES["composite3"]
            class_names = names if highest < len(names) else tuple(f"class{i}" for i in range(highest + 1))
        subjects = [f"{data}/{subject}" for data, subject in zip(self.dataset, self.subject, strict=True)]
        keys = np.array([f"{subject}/{i:06d}" for i, subject in enumerate(subjects)])
        unknown = {"videos": np.full(len(self), ""), "intervals": np.full((len(self), 2), -1, dtype=np.int64)}
        people = self.dataset.astype(str), np.array(subjects)
        return ClipTable(keys, *people, self.label, tuple(class_names), **unknown)


def read_flow_maps(path: str | os.PathLike) -> FlowMaps:
    """Read labelled flow maps.

    Args:
        path (`str` or `os.PathLike`): An `.npz` file with `flow` uint8 `(N, 28, 28, 3)` in (u, v, strain)
            order, `label` integers `(N,)`, `subject` and `dataset` strings `(N,)`; or a folder of pictures
            with a `list.csv`.

    Returns:
        [`FlowMaps`]: With labels as int64.

    Raises:
        ValueError: If the file is missing or damaged, or an array is missing or has another type or shape.
    """
    path = Path(path)
    arrays = _load_pictures(path) if path.is_dir() else read_npz(path, ARRAYS)
    flow = arrays["flow"]
    if flow.dtype != np.uint8 or flow.ndim != 4 or flow.shape[1:] != (28, 28, 3) or not len(flow):
        raise ValueError(
            f"{path}: flow must be uint8 (N, 28, 28, 3) with N > 0, got {flow.dtype} {flow.shape}."
        )
    for name, (kinds, words) in KINDS.items():
        array = arrays[name]
        if array.dtype.kind not in kinds or array.shape != (len(flow),):
            raise ValueError(
                f"{path}: {name} must be {len(flow)} {words}, one per map, got {array.dtype} {array.shape}."
            )
    lowest, highest = arrays["label"].min(), arrays["label"].max()
    if lowest < 0 or highest >= MOST_CLASSES:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{path}: label must lie in 0 to {MOST_CLASSES - 1}, got {wrong}.")
    return FlowMaps(**{**arrays, "label": arrays["label"].astype(np.int64)}, source=str(path))


def _load_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a folder of pictures with its list."""
    path, expected = folder / "list.csv", ", ".join(LIST_COLUMNS)
    if not path.is_file():
        raise ValueError(f"{folder} holds no list.csv. Give one with the columns {expected}.")
    rows = read_records(path, LIST_COLUMNS)
    if not rows:
        raise ValueError(f"{path} lists no picture.")
    for number, row in rows:
        if not re.fullmatch(r"\s*\d{1,6}\s*", row["label"], re.ASCII):
            raise ValueError(f"{path}, line {number}: label must be a class index, got {row['label']!r}.")
    flow = [_load_picture(path, number, row["file"]) for number, row in rows]
    text = {name: np.array([row[name] for _, row in rows]) for name in ("subject", "dataset")}
    return {"flow": np.stack(flow), "label": np.array([int(row["label"]) for _, row in rows]), **text}


def _load_picture(path: Path, number: int, name: str) -> np.ndarray:
    """Read the picture that a line of a list names."""
    try:
        flow = np.asarray(read_picture(path.parent / name).convert("RGB"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}, line {number}: {name} cannot be read ({error})") from error
    height, width, _ = flow.shape
    if (height, width) != (28, 28):
        raise ValueError(f"{path}, line {number}: {name} must be 28 x 28, got {width} x {height}.")
    return flow


def write_flow_maps(path: str | os.PathLike, data: FlowMaps) -> None:
    """Write labelled flow maps to an `.npz` file that [`read_flow_maps`] reads.

    Args:
        path (`str` or `os.PathLike`): Ends in `.npz`. An existing file is replaced at the end.
        data ([`FlowMaps`]): The maps.
    """
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **{name: getattr(data, name) for name in ARRAYS})
