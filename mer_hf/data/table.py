"""The table of clips from which splits, logs and reports are made: one row per clip, without pictures."""

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from mer_hf.interchange.rows import csv_text

COLUMNS = ("key", "dataset", "subject", "label", "video", "onset", "offset")


@dataclass(frozen=True)
class ClipTable:
    """Subject and label of every clip.

    Attributes:
        keys (`np.ndarray` of shape `(N,)`): str, `dataset/subject/clip[/onset]`; unique.
        datasets (`np.ndarray` of shape `(N,)`): str.
        subjects (`np.ndarray` of shape `(N,)`): str, prefixed with the dataset: `casme2/sub01`.
        labels (`np.ndarray` of shape `(N,)`): int64 in `[0, len(class_names))`.
        class_names (`tuple[str, ...]`): In index order.
        videos (`np.ndarray` of shape `(N,)`): str; the recording that a clip was cut from, `""` if unknown.
        intervals (`np.ndarray` of shape `(N, 2)`): int64; onset and offset in that recording, -1 if unknown.

    Raises:
        ValueError: If a key occurs twice or a label is out of range.
    """

    keys: np.ndarray
    datasets: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    videos: np.ndarray
    intervals: np.ndarray

    def __post_init__(self):
        names, times = np.unique(self.keys, return_counts=True)
        if len(names) < len(self.keys):
            raise ValueError(f"the key {names[times > 1][0]} occurs more than once. Keys must be unique.")
        if self.labels.min() < 0 or self.labels.max() >= len(self.class_names):
            raise ValueError(
                f"labels lie in {self.labels.min()} to {self.labels.max()}, but there are "
                f"{len(self.class_names)} classes ({', '.join(self.class_names)}). Check the class scheme."
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def label_names(self) -> np.ndarray:
        """Return the class name of every clip."""
        return np.array(self.class_names)[self.labels]

    def counts(self) -> dict[str, int]:
        """Count the clips of each class."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def digest(self) -> str:
        """Return the SHA-256 of keys, subjects and labels, sorted by key: equal for the same task."""
        return task_digest(self.keys, self.subjects, self.label_names)

    def to_csv(self) -> str:
        """Return the table as CSV text, with labels as class names."""
        columns = (self.keys, self.datasets, self.subjects, self.label_names, self.videos, *self.intervals.T)
        return csv_text([COLUMNS, *zip(*(column.tolist() for column in columns), strict=True)])


def task_digest(keys: np.ndarray, subjects: np.ndarray, label_names: np.ndarray) -> str:
    """Return the SHA-256 of clips with their subjects and labels, sorted by key."""
    columns = (column[np.argsort(keys)] for column in (keys, subjects, label_names))
    text = "\n".join(map("\t".join, zip(*columns, strict=True)))
    return hashlib.sha256(text.encode()).hexdigest()


def joined(tables: list[ClipTable]) -> ClipTable:
    """Concatenate the tables of several datasets, which have the same classes."""
    names = {spec.name for spec in fields(ClipTable)} - {"class_names"}
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in names}
    return ClipTable(class_names=tables[0].class_names, **columns)
