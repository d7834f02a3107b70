"""Ready-made flow maps: the flow of real or synthetic clips from onset to apex, as files carry them.

An `.npz` file, or a folder of pictures with a list: `list.csv` beside 28 x 28 RGB pictures whose channels are
(u, v, strain), with the columns `file`, `label`, `subject` and `dataset`.
"""

import csv
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mer_hf.labels import SCHEMES

from .table import ClipTable

ARRAYS = ("flow", "label", "subject", "dataset")


@dataclass(frozen=True)
class FlowMaps:
    """Labelled flow maps.

    Attributes:
        flow (`np.ndarray` of shape `(N, 28, 28, 3)`): uint8, channels (u, v, strain).
        label (`np.ndarray` of shape `(N,)`): int64 class indices.
        subject (`np.ndarray` of shape `(N,)`): str; who is seen, unique within a data set.
        dataset (`np.ndarray` of shape `(N,)`): str.
        source (`str`): Where they were read from; empty if nowhere.
    """

    flow: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    dataset: np.ndarray
    source: str = ""

    def __len__(self) -> int:
        return len(self.label)

    def table(self, class_names: tuple[str, ...] | None = None) -> ClipTable:
        """Who is seen in which map.

        Args:
            class_names (`tuple[str, ...]`, *optional*): In index order; by default those of the composite of
                three classes, or numbers where a label is 3 or more.

        Returns:
            [`ClipTable`]: Keys are `dataset/subject/position in the file`.

        Raises:
            ValueError: If a label has no name.
        """
        if class_names is None:
            highest = int(self.label.max())
            names = SCHEMES["composite3"]
            class_names = names if highest < len(names) else tuple(f"class{i}" for i in range(highest + 1))
        subjects = [f"{data}/{who}" for data, who in zip(self.dataset, self.subject, strict=True)]
        return ClipTable(
            keys=np.array([f"{subject}/{i:06d}" for i, subject in enumerate(subjects)]),
            datasets=self.dataset.astype(str),
            subjects=np.array(subjects),
            labels=self.label,
            class_names=tuple(class_names),
            videos=np.full(len(self), ""),
            intervals=np.full((len(self), 2), -1, dtype=np.int64),
        )


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    wanted = "Pass an .npz file with the arrays flow, label, subject and dataset."
    if not path.is_file():
        raise ValueError(f"no file {path}. {wanted}")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} holds one bare array. {wanted}")
        with archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "none"
                raise ValueError(f"{path} lacks {', '.join(missing)}; its arrays: {found}. {wanted}")
            return {name: archive[name] for name in ARRAYS}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged or no .npz file ({error}). Copy or write it again.") from error
    except ValueError as error:
        if "pickle" in str(error):  # numpy's answer to bytes it does not know, and to arrays of objects
            raise ValueError(
                f"{path} is no .npz file, or one of its arrays holds Python objects. Save names as strings."
            ) from error
        raise


def read_flow_maps(path: str | os.PathLike) -> FlowMaps:
    """Read labelled flow maps.

    Args:
        path (`str` or `os.PathLike`): An `.npz` file with `flow` uint8 `(N, 28, 28, 3)` in (u, v, strain)
            order, `label` integers `(N,)`, `subject` and `dataset` strings `(N,)`; or a folder of pictures
            with a `list.csv`.

    Returns:
        [`FlowMaps`]: With labels as int64.

    Raises:
        ValueError: In one line, if the file is missing or damaged, or if an array is missing or of another
            type or shape.
    """
    path = Path(path)
    arrays = _load_pictures(path) if path.is_dir() else _load_arrays(path)
    flow = arrays["flow"]
    if flow.dtype != np.uint8 or flow.ndim != 4 or flow.shape[1:] != (28, 28, 3) or not len(flow):
        raise ValueError(
            f"{path}: flow must be uint8 (N, 28, 28, 3) with N > 0, got {flow.dtype} {flow.shape}."
        )
    for name, kinds, what in (
        ("label", "iu", "integers"),
        ("subject", "U", "strings"),
        ("dataset", "U", "strings"),
    ):
        array = arrays[name]
        if array.dtype.kind not in kinds or array.shape != (len(flow),):
            raise ValueError(
                f"{path}: {name} must be {len(flow)} {what}, one per map, got {array.dtype} {array.shape}."
            )
    if arrays["label"].min() < 0:
        raise ValueError(f"{path}: label must not be negative, got {arrays['label'].min()}.")
    return FlowMaps(**{**arrays, "label": arrays["label"].astype(np.int64)}, source=str(path))


def _load_pictures(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder of pictures with its list."""
    path, wanted = folder / "list.csv", {"file", "label", "subject", "dataset"}
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no list.csv. Give one with the columns {', '.join(sorted(wanted))}."
        )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or wanted - set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no row"
        raise ValueError(f"{path} must have the columns {', '.join(sorted(wanted))}, found {found}.")
    flow = []
    for number, row in enumerate(rows, start=2):
        if not row["label"].strip().isdecimal():
            raise ValueError(f"{path}, line {number}: label must be a class index, got {row['label']!r}.")
        try:
            with Image.open(folder / row["file"]) as picture:
                flow.append(np.asarray(picture.convert("RGB")))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"{path}, line {number}: {row['file']} cannot be read ({error}).") from error
        if flow[-1].shape != (28, 28, 3):
            height, width, _ = flow[-1].shape
            raise ValueError(f"{path}, line {number}: {row['file']} must be 28 x 28, got {width} x {height}.")
    return {
        "flow": np.stack(flow),
        "label": np.array([int(row["label"]) for row in rows]),
        "subject": np.array([row["subject"] for row in rows]),
        "dataset": np.array([row["dataset"] for row in rows]),
    }


def write_flow_maps(path: str | os.PathLike, data: FlowMaps, record: str | None = None) -> None:
    """Write labelled flow maps as [`read_flow_maps`] reads them; a file of the name is replaced at the end.

    Args:
        path (`str` or `os.PathLike`): Ends in `.npz`.
        data ([`FlowMaps`]): The maps.
        record (`str`, *optional*): How they were generated, kept beside them.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        extra = {} if record is None else {"record": np.array(record)}
        np.savez_compressed(unfinished, **{name: getattr(data, name) for name in ARRAYS}, **extra)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
