"""A prepared dataset: the table of its clips for a class scheme, and the clips themselves."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mer_hf.face.tracking import FaceGeometry, FaceTrack, recrop
from mer_hf.labels import SCHEMES, TO_COMPOSITE3
from mer_hf.utils.settings import GEOMETRY
from mer_hf.utils.untrusted import check_kinds, in_one_line, read_json
from mer_hf.video.clip import read_picture

from .annotations import PHASES
from .prepare import features
from .table import ClipTable

Scheme = str | tuple[str, ...]
"""Key of `labels.SCHEMES`, or class names in index order."""

COLUMNS = {"keys": "key", "datasets": "database", "subjects": "subject", "videos": "video",
           "intervals": "interval"}  # fmt: skip
"""Field of a table of clips -> column of the stored rows."""
READ = (*COLUMNS.values(), "emotion", "frames", *PHASES, "apex_source", "action_units", "landmarks_xy",
        "timestamps_s")  # fmt: skip
"""Columns that are read."""


def class_of(emotion: str, class_names: tuple[str, ...]) -> str | None:
    """Return the class of an emotion: itself, or the composite class it belongs to; None if it has none."""
    if emotion in class_names:
        return emotion
    composite = TO_COMPOSITE3.get(emotion)
    return composite if composite in class_names else None


@contextlib.contextmanager
def _damage(path: Path, where: str = "") -> Iterator[None]:
    """Turn whatever goes wrong with stored data into one line."""
    try:
        yield
    except Exception as error:  # datasets and pyarrow raise exceptions of every kind
        raise ValueError(f"{path}{where}: damaged data ({in_one_line(error)}). Prepare it again.") from error


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
            from datasets import Image, List, load_from_disk
        except ImportError as error:
            raise ImportError("prepared data need datasets. Run pip install 'mer_hf[train]'.") from error

        self.report = read_json(self.path / "report.json", {"emotions": dict[str, int], "geometry": dict})
        check_kinds(self.report["geometry"], GEOMETRY, f"{self.path / 'report.json'}: geometry")
        self._geometry = FaceGeometry(**{name: self.report["geometry"][name] for name in GEOMETRY})
        with _damage(self.path):
            rows, kinds = load_from_disk(self.path / "data"), features()
            if wrong := [name for name in READ if rows.features.get(name) != kinds[name]]:
                raise ValueError(f"another column {wrong[0]}")
            self._rows = rows.cast_column("frames", List(Image(decode=False)))  # pictures are checked first
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
        frames, landmarks_xy = recrop(clip["frames"], clip["landmarks_xy"], self._geometry, geometry)
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
        with _damage(self.path, f", clip {key}"):
            row = self._rows[self._row_of[key]]
            pictures = [read_picture(each["bytes"]).convert("RGB") for each in row["frames"]]
            frames = np.stack([np.asarray(picture) for picture in pictures])
            landmarks_xy = np.asarray(row["landmarks_xy"], dtype=np.float32)
            count, side = len(frames), self._geometry.size
            places = [row[name] for name in PHASES]
            fits = len(landmarks_xy) == len(row["timestamps_s"]) == count
            fits = fits and frames.shape[1:3] == (side, side)
            if not (fits and np.isfinite(landmarks_xy).all() and 0 <= min(places) <= max(places) < count):
                raise ValueError(f"{count} frames do not fit its size, landmarks, times or phases")
        frames, landmarks_xy = recrop(frames, landmarks_xy, self._geometry, geometry or self._geometry)
        times_s = np.asarray(row["timestamps_s"], dtype=np.float64)
        known = {name: row[name] for name in (*PHASES, "apex_source", "action_units")}
        return {"frames": frames, "landmarks_xy": landmarks_xy, "timestamps_s": times_s, **known}
