"""Files of generated samples: who may be published is decided here, by drawing them again.

    FILE.npz    from mer-hf synth-flows
    FOLDER      what train.py --cache-dir keeps

A file without the generator's record, or whose contents are not what the record says, is refused: licensed
recordings in the same format have no way past.
"""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mer_hf.registry import ARCHITECTURES
from mer_hf.synthetic.expressions import Expression, begin_sample
from mer_hf.synthetic.people import person_maps
from mer_hf.synthetic.record import content_sha256, fingerprint
from mer_hf.training.data import VALIDATION_SEED
from mer_hf.training.samples import Faces, FlowMapSamples

DRAWN_AGAIN = 48
"""Samples of a file that are drawn again and compared to the last bit; classes are compared for all."""


class Sample(NamedTuple):
    """Where a sample stands in the generator's streams.

    Attributes:
        view (`Any`): Draws it: `view[at]`.
        at (`int`): Its place in the view.
        seed, index (`int`): Its stream, and its place there.
        expression ([`Expression`]): Class and action units.
        subject (`str`): Who shows it; empty if everybody is shown once.
    """

    view: Any
    at: int
    seed: int
    index: int
    expression: Expression
    subject: str


@dataclass(frozen=True)
class Generated:
    """A file that the generator has drawn.

    Attributes:
        path (`Path`): The file.
        record (`dict`): The generator's record.
        arrays (`dict[str, np.ndarray]`): Its columns.
        samples (`tuple[Sample, ...]`): Where each row comes from.
    """

    path: Path
    record: dict[str, Any]
    arrays: dict[str, np.ndarray]
    samples: tuple[Sample, ...]

    @property
    def split(self) -> str:
        """The set that runs score themselves on is no training data."""
        return "validation" if self.record["seed"] == VALIDATION_SEED else "train"


def files_of(path: Path) -> list[Path]:
    """The files to publish.

    Args:
        path (`Path`): A file, or a folder of files.

    Returns:
        `list[Path]`: At least one, sorted.

    Raises:
        ValueError: If there is none.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    # A name beginning with a dot, or with a process in it, is a file that is being written.
    files = [each for each in files if not each.name.startswith(".")]
    if not files or not files[0].is_file():
        raise ValueError(
            f"{path} holds no generated data. Give a file of mer-hf synth-flows, or a folder that train.py "
            "--cache-dir has filled."
        )
    return files


def read_generated(path: Path) -> Generated:
    """Read a file and make sure that the generator has drawn all of it.

    Args:
        path (`Path`): An .npz file.

    Returns:
        [`Generated`]: What it holds.

    Raises:
        ValueError: In one line, if it is damaged or not provably generated.
    """
    record, arrays = _load(path)
    if record.get("generator") != "mer_hf.synthetic":
        raise ValueError(_refusal(path, "it carries no record of the generator"))
    if record.get("content_sha256") != content_sha256(arrays):
        raise ValueError(_refusal(path, "its contents are not those that the generator recorded"))
    if record.get("fingerprint") != fingerprint():
        raise ValueError(
            f"{path} was drawn by another version of the generator, so it cannot be drawn again to check it. "
            "Draw it with this version."
        )
    try:
        samples = tuple(_samples_of(record))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(_refusal(path, f"its record is damaged ({error!r})")) from error
    _check_samples(path, arrays, samples)
    return Generated(path, record, arrays, samples)


def _refusal(path: Path, reason: str) -> str:
    return (
        f"{path} is not provably generated: {reason}. Recordings must not be published; draw the data with "
        "mer-hf synth-flows or train.py --cache-dir."
    )


def _load(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        # numpy's own words on a file that it does not know advise to unpickle it.
        raise ValueError(
            f"{path} is damaged or no .npz file ({type(error).__name__}). Draw it again."
        ) from error
    try:
        record = json.loads(str(arrays.pop("record"))) if "record" in arrays else {}
    except ValueError:
        record = {}
    return (record if isinstance(record, dict) else {}), arrays


def _samples_of(record: dict[str, Any]) -> Iterator[Sample]:
    """Where the rows of a file come from, in their order."""
    if record["kind"] == "people":
        for person in range(record["subjects"]):
            view = person_maps(record["seed"], person)
            for at in range(len(view)):
                yield _sample(view, at, view, f"s{person:03d}")
        return
    kind = _kind_of(record)
    view = kind.view(record["seed"], record["size"], record["start"])
    for at in range(*record["indices"]):
        yield _sample(view, at, view.samples, "")


def _sample(view: Any, at: int, stream: Any, subject: str) -> Sample:
    index = stream.start + at
    _, expression = begin_sample(stream.seed, index, stream.settings.class_shares)
    return Sample(view, at, stream.seed, index, expression, subject)


def _kind_of(record: dict[str, Any]) -> FlowMapSamples | Faces:
    generator = record.get("generator_settings")
    if record["kind"] == "maps":
        return FlowMapSamples(None, generator)
    if record["kind"] != "faces":
        raise ValueError(f"nothing called {record['kind']!r} is drawn")
    settings = dict(record["processor"])
    name = settings.pop("image_processor_type")
    classes = {each.processor_class.__name__: each.processor_class for each in ARCHITECTURES.values()}
    return Faces(classes[name](**settings), record["tracked_share"], generator)


def _check_samples(path: Path, arrays: dict[str, np.ndarray], samples: tuple[Sample, ...]) -> None:
    """Compare what the file holds with what the generator draws."""
    labels = np.array([sample.expression.label for sample in samples])
    unknown = set(arrays) - set(samples[0].view[samples[0].at]) - {"subject", "dataset"} if samples else set()
    if unknown or "label" not in arrays:
        raise ValueError(
            _refusal(path, f"it has other columns than the generator's: {', '.join(sorted(arrays))}")
        )
    if any(len(array) != len(samples) for array in arrays.values()) or not len(samples):
        raise ValueError(_refusal(path, f"its record tells of {len(samples)} samples, it holds others"))
    if not np.array_equal(arrays["label"], labels):
        raise ValueError(_refusal(path, "its classes are not those that the generator draws"))
    for row in np.unique(np.linspace(0, len(samples) - 1, DRAWN_AGAIN).astype(int)):
        sample = samples[row]
        drawn = sample.view[sample.at] | {"subject": sample.subject, "dataset": "synthetic"}
        if not all(np.array_equal(drawn[name], arrays[name][row]) for name in arrays):
            raise ValueError(_refusal(path, f"sample {row} is not what the generator draws"))
