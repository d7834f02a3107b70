"""The table of clips that splits, logs and reports are made from: one row per clip, no picture."""

import csv
import hashlib
import io
import os
from dataclasses import dataclass, fields

import numpy as np

COLUMNS = ("key", "dataset", "subject", "label", "video", "onset", "offset")


@dataclass(frozen=True)
class ClipTable:
    """Who is seen in which clip, and what it is labelled.

    Attributes:
        keys (`np.ndarray` of shape `(N,)`): str, `dataset/subject/clip[/onset]`; none occurs twice.
        datasets (`np.ndarray` of shape `(N,)`): str.
        subjects (`np.ndarray` of shape `(N,)`): str, prefixed with the data set: `casme2/sub01`.
        labels (`np.ndarray` of shape `(N,)`): int64 in `[0, len(class_names))`.
        class_names (`tuple[str, ...]`): In index order.
        videos (`np.ndarray` of shape `(N,)`): str; the recording a clip lies in, `""` if unknown.
        intervals (`np.ndarray` of shape `(N, 2)`): int64; onset and offset in that recording, -1 if unknown.

    Raises:
        ValueError: In one line, if the columns disagree in length, a key occurs twice, a label is out of
            range, or a subject does not name its data set.
    """

    keys: np.ndarray
    datasets: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    videos: np.ndarray
    intervals: np.ndarray

    def __post_init__(self):
        count = len(self.keys)
        if not count:
            raise ValueError("the table holds no clip. Check the class scheme: it may leave every clip out.")
        for name in ("datasets", "subjects", "labels", "videos", "intervals"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"expected {count} {name}, one per clip, got {len(getattr(self, name))}.")
        names, times = np.unique(self.keys, return_counts=True)
        if len(names) < count:
            raise ValueError(f"the key {names[times > 1][0]} occurs more than once. Keys must be unique.")
        if self.labels.min() < 0 or self.labels.max() >= len(self.class_names):
            raise ValueError(
                f"labels lie in {self.labels.min()} to {self.labels.max()}, but there are "
                f"{len(self.class_names)} classes ({', '.join(self.class_names)}). Check the class scheme."
            )
        for dataset, subject in zip(self.datasets, self.subjects, strict=True):
            if not str(subject).startswith(f"{dataset}/"):
                raise ValueError(
                    f"subject {subject} must be prefixed with its data set: {dataset}/{subject}."
                )

    def __len__(self) -> int:
        return len(self.keys)

    def counts(self, chosen: np.ndarray | None = None) -> dict[str, int]:
        """Clips of each class, of all rows or of the `chosen` ones."""
        labels = self.labels if chosen is None else self.labels[chosen]
        return dict(
            zip(self.class_names, np.bincount(labels, minlength=len(self.class_names)).tolist(), strict=True)
        )

    def digest(self) -> str:
        """SHA-256 of keys, subjects and labels in the order of the keys: equal tables are the same task."""
        order = np.argsort(self.keys)
        rows = [f"{self.keys[i]}\t{self.subjects[i]}\t{self.class_names[self.labels[i]]}" for i in order]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def to_csv(self) -> str:
        """The table as text, with labels as class names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i in range(len(self)):
            onset, offset = self.intervals[i].tolist()
            name = self.class_names[self.labels[i]]
            writer.writerow(
                [self.keys[i], self.datasets[i], self.subjects[i], name, self.videos[i], onset, offset]
            )
        return text.getvalue()


def joined(tables: list[ClipTable]) -> ClipTable:
    """Several data sets as one table, in the order they are given.

    Raises:
        ValueError: If their classes differ, or a key occurs in two of them.
    """
    classes = {table.class_names for table in tables}
    if len(classes) > 1:
        shown = "; ".join(", ".join(names) for names in sorted(classes))
        raise ValueError(f"the data sets have different classes: {shown}. Choose a scheme they share.")
    columns = {
        spec.name: np.concatenate([getattr(table, spec.name) for table in tables])
        for spec in fields(ClipTable)
        if spec.name != "class_names"
    }
    return ClipTable(class_names=tables[0].class_names, **columns)


def read_table(path: str | os.PathLike, class_names: tuple[str, ...]) -> ClipTable:
    """Read what [`ClipTable.to_csv`] wrote.

    Args:
        path (`str` or `os.PathLike`): The file.
        class_names (`tuple[str, ...]`): In index order.

    Returns:
        [`ClipTable`]: The table.

    Raises:
        ValueError: In one line, if the file is not such a table.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or set(COLUMNS) - set(rows[0]):
        raise ValueError(f"{path} is no table of clips: it must have the columns {', '.join(COLUMNS)}.")
    unknown = {row["label"] for row in rows} - set(class_names)
    if unknown:
        raise ValueError(f"{path}: label {min(unknown)} is none of {', '.join(class_names)}.")
    return ClipTable(
        keys=np.array([row["key"] for row in rows]),
        datasets=np.array([row["dataset"] for row in rows]),
        subjects=np.array([row["subject"] for row in rows]),
        labels=np.array([class_names.index(row["label"]) for row in rows], dtype=np.int64),
        class_names=class_names,
        videos=np.array([row["video"] for row in rows]),
        intervals=np.array([[int(row["onset"]), int(row["offset"])] for row in rows], dtype=np.int64),
    )
