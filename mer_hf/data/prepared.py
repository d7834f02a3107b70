"""A prepared dataset: the table of its clips for a class scheme, and the clips themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.face.tracking import FaceGeometry, FaceTrack, recrop
from mer_hf.labels import SCHEMES, TO_COMPOSITE3

from .table import ClipTable

Scheme = str | tuple[str, ...]
"""Key of `labels.SCHEMES`, or class names in index order."""

COLUMNS = {"keys": "key", "datasets": "database", "subjects": "subject", "videos": "video",
           "intervals": "interval"}  # fmt: skip
"""Field of a table of clips -> column of the stored rows."""


def class_of(emotion: str, class_names: tuple[str, ...]) -> str | None:
    """Return the class of an emotion: itself, or the composite class it belongs to; None if it has none."""
    if emotion in class_names:
        return emotion
    composite = TO_COMPOSITE3.get(emotion)
    return composite if composite in class_names else None


def _names(scheme: Scheme) -> tuple[str, ...]:
    return SCHEMES[scheme] if isinstance(scheme, str) else tuple(scheme)


class Prepared:
    """A folder that `mer-hf prepare` made.

    Args:
        path (`str` or `Path`): The folder.

    Attributes:
        report (`dict`): What was found, fixed and excluded; the content of report.json.

    Raises:
        ValueError: If it is not such a folder, or its preparation has not finished.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise ValueError(f"there is no folder {self.path}. Make it with mer-hf prepare.")
        if not (self.path / "report.json").is_file() or not (self.path / "data").is_dir():
            raise ValueError(
                f"{self.path} holds no prepared dataset. Make it, or finish it, with mer-hf prepare."
            )
        try:
            from datasets import load_from_disk
        except ImportError as error:
            raise ImportError("prepared data need datasets. Run pip install 'mer_hf[train]'.") from error

        self.report = json.loads((self.path / "report.json").read_text())
        self._rows = load_from_disk(self.path / "data")
        self._row_of = {key: row for row, key in enumerate(self._rows["key"])}

    def table(self, scheme: Scheme) -> ClipTable:
        """Return the table of the clips whose emotion belongs to a class.

        Args:
            scheme (`str` or `tuple[str, ...]`): Key of `labels.SCHEMES`, or class names in index order.

        Returns:
            [`ClipTable`]: Without the clips whose emotion has no class.

        Raises:
            ValueError: If no emotion of the dataset has a class.
        """
        names = _names(scheme)
        stored = self._rows.select_columns([*COLUMNS.values(), "emotion"])
        rows = [row for row in stored if class_of(row["emotion"], names)]
        if not rows:
            emotions = ", ".join(self.report["emotions"])
            raise ValueError(
                f"no emotion of {self.path} ({emotions}) is one of {', '.join(names)}. Choose --classes."
            )
        labels = [names.index(class_of(row["emotion"], names)) for row in rows]
        columns = {field: np.array([row[name] for row in rows]) for field, name in COLUMNS.items()}
        return ClipTable(**columns, labels=np.array(labels, dtype=np.int64), class_names=names)

    def excluded(self, scheme: Scheme) -> dict[str, int]:
        """Return the number of clips of each emotion that has no class in a scheme."""
        names = _names(scheme)
        counts = self.report["emotions"].items()
        return {emotion: count for emotion, count in counts if class_of(emotion, names) is None}

    def rows(self) -> list[dict[str, Any]]:
        """Return what is stored of every clip but its pictures: `key`, `database`, `subject`, `emotion`."""
        return list(self._rows.select_columns(["key", "database", "subject", "emotion"]))

    def track(self, clip: dict[str, Any], geometry: FaceGeometry) -> FaceTrack:
        """Return a stored clip as aligned faces in another crop."""
        stored = FaceGeometry(**self.report["geometry"])
        frames, landmarks_xy = recrop(clip["frames"], clip["landmarks_xy"], stored, geometry)
        still = np.repeat(np.eye(2, 3, dtype=np.float32)[None], len(frames), axis=0)
        return FaceTrack(frames, landmarks_xy, still)

    def clip(self, key: str, geometry: FaceGeometry | None = None) -> dict[str, Any]:
        """Return one clip.

        Args:
            key (`str`): From the table.
            geometry ([`FaceGeometry`], *optional*): The crop; by default the stored one, which is wider than
                that of any network.

        Returns:
            `dict`: `frames` uint8 `(T, S, S, 3)` RGB, `landmarks_xy` float32 `(T, 478, 2)`, `onset`, `apex`
            and `offset` (positions in the frames), `apex_source`, `action_units` (list of `number`, `side`,
            `intensity`) and `timestamps_s` float64 `(T,)`.
        """
        row = self._rows[self._row_of[key]]
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
