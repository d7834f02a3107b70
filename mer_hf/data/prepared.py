"""A prepared data set: the table of its clips for a class scheme, and the clips themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.face.tracking import FaceGeometry, recrop
from mer_hf.labels import SCHEMES, TO_COMPOSITE3

from .table import ClipTable


def class_of(emotion: str, class_names: tuple[str, ...]) -> str | None:
    """The class of an emotion in a scheme: itself, or the composite class it belongs to; None if left out."""
    if emotion in class_names:
        return emotion
    composite = TO_COMPOSITE3.get(emotion)
    return composite if composite in class_names else None


class Prepared:
    """A folder that `mer-hf prepare` made.

    Args:
        path (`str` or `Path`): The folder.

    Attributes:
        report (`dict`): What was found, repaired and left out.

    Raises:
        ValueError: In one line, if it is no such folder, or its preparation has not ended.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise ValueError(f"there is no folder {self.path}. Make it with mer-hf prepare.")
        if not (self.path / "report.json").is_file() or not (self.path / "data").is_dir():
            raise ValueError(
                f"{self.path} holds no prepared data set. Make it, or finish it, with mer-hf prepare."
            )
        try:
            from datasets import load_from_disk
        except ImportError as error:
            raise ImportError("prepared data need datasets. Run pip install 'mer_hf[train]'.") from error

        self.report = json.loads((self.path / "report.json").read_text())
        self._rows = load_from_disk(self.path / "data")
        self._at = {key: row for row, key in enumerate(self._rows["key"])}

    def table(self, scheme: str | tuple[str, ...]) -> ClipTable:
        """The clips of a class scheme.

        Args:
            scheme (`str` or `tuple[str, ...]`): Key of `labels.SCHEMES`, or class names in index order.

        Returns:
            [`ClipTable`]: Without the clips whose emotion is in no class.

        Raises:
            ValueError: If no emotion of the data set is in a class.
        """
        names = SCHEMES[scheme] if isinstance(scheme, str) else tuple(scheme)
        columns = self._rows.select_columns(["key", "database", "subject", "video", "interval", "emotion"])
        kept = [(row, class_of(row["emotion"], names)) for row in columns]
        kept = [(row, label) for row, label in kept if label is not None]
        if not kept:
            found = ", ".join(self.report["emotions"])
            raise ValueError(
                f"no emotion of {self.path} ({found}) is one of {', '.join(names)}. Choose --classes."
            )
        return ClipTable(
            keys=np.array([row["key"] for row, _ in kept]),
            datasets=np.array([row["database"] for row, _ in kept]),
            subjects=np.array([row["subject"] for row, _ in kept]),
            labels=np.array([names.index(label) for _, label in kept], dtype=np.int64),
            class_names=names,
            videos=np.array([row["video"] for row, _ in kept]),
            intervals=np.array([row["interval"] for row, _ in kept], dtype=np.int64),
        )

    def left_out(self, scheme: str | tuple[str, ...]) -> dict[str, int]:
        """Emotions that are in no class of a scheme -> their clips."""
        names = SCHEMES[scheme] if isinstance(scheme, str) else tuple(scheme)
        counts = self.report["emotions"].items()
        return {emotion: count for emotion, count in counts if class_of(emotion, names) is None}

    def clip(self, key: str, geometry: FaceGeometry | None = None) -> dict[str, Any]:
        """One clip.

        Args:
            key (`str`): From the table.
            geometry ([`FaceGeometry`], *optional*): The crop that is wanted; the stored one by default, which
                is wider than any network's.

        Returns:
            `dict`: `frames` uint8 `(T, S, S, 3)` RGB, `landmarks_xy` float32 `(T, 478, 2)`, `onset`, `apex`
            and `offset` (positions in the frames), `apex_source`, `action_units` (list of `number`, `side`,
            `intensity`) and `timestamps_s` float64 `(T,)`.
        """
        row = self._rows[self._at[key]]
        frames = np.stack([np.asarray(picture.convert("RGB")) for picture in row["frames"]])
        landmarks_xy = np.asarray(row["landmarks_xy"], dtype=np.float32)
        stored = FaceGeometry(**self.report["geometry"])
        frames, landmarks_xy = recrop(frames, landmarks_xy, stored, geometry or stored)
        return {
            "frames": frames,
            "landmarks_xy": landmarks_xy,
            "timestamps_s": np.asarray(row["timestamps_s"], dtype=np.float64),
            **{name: row[name] for name in ("onset", "apex", "offset", "apex_source", "action_units")},
        }
