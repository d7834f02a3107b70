"""Draw generated flow maps and publish them as a dataset.

What is published is drawn here: no file comes in, so no recording can get in.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import DatasetCard

from mer_hf.synthetic import CLASSES
from mer_hf.synthetic.expressions import begin_sample
from mer_hf.synthetic.people import draw_people, person_maps

from .cards import TAG, generated_data_card
from .upload import check_name, publish

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**9, "100K<n<1M"))


def push_synthetic(
    repo_id: str,
    subjects: int,
    seed: int = 0,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Draw flow maps of people who do not exist, and publish them for `datasets.load_dataset`.

    Args:
        repo_id (`str`): `owner/name`.
        subjects (`int`): Number of people; at least two.
        seed (`int`, *optional*, defaults to 0): Chooses the people.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
        revision (`str`, *optional*): A tag for the commit.
        dry_run (`bool`, *optional*, defaults to `False`): Return what would be uploaded, and send nothing.
        progress (`Callable`, *optional*): Called with people drawn and people in all.

    Returns:
        `str`: With `dry_run` the files and the card, else the address of the commit.

    Raises:
        ValueError: In one line, if a value is out of range, the name is invalid, there is no token or
            permission, or the connection is lost; the repository is then as it was.
        ImportError: If `datasets` is missing.
    """
    check_name(repo_id, revision)
    if not 0 <= seed < 2**31:
        raise ValueError(f"the seed must lie in 0 to {2**31 - 1}, got {seed}.")
    columns = draw_columns(subjects, seed, progress)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_parquet(columns, folder / "data" / "train-00000.parquet")
        card = dataset_card(repo_id, columns, subjects, seed)
        options = {"repo_type": "dataset", "private": private, "revision": revision, "dry_run": dry_run}
        message = "Upload a dataset that mer_hf generated"
        return publish(folder, repo_id, card, message, remove=["data/*"], **options)


def draw_columns(
    subjects: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Draw flow maps, and say of each which action units it shows and which random stream it comes from."""
    drawn = draw_people(subjects, seed, progress)
    columns: dict[str, Any] = {name: drawn[name] for name in ("flow", "label", "subject")}
    columns |= {"action_units": [], "seed": [], "index": []}
    for maps in (person_maps(seed, person) for person in range(subjects)):
        for index in range(maps.start, maps.start + len(maps)):
            _, expression = begin_sample(maps.seed, index, maps.settings.class_shares)
            units = expression.activations.items()
            columns["action_units"].append([{"name": n, "left": left, "right": r} for n, (left, r) in units])
            columns["seed"].append(maps.seed)
            columns["index"].append(index)
    return columns


def write_parquet(columns: dict[str, Any], path: Path) -> None:
    """Write samples for `datasets`; of the columns known here, those that there are."""
    try:
        from datasets import Array3D, ClassLabel, Dataset, Features, List, Value
    except ImportError as error:
        raise ImportError("publishing data needs datasets. Run pip install 'mer_hf[train]'.") from error
    unit = {"name": Value("string"), "left": Value("float64"), "right": Value("float64")}
    kinds = {
        "flow": Array3D((28, 28, 3), "uint8"), "label": ClassLabel(names=list(CLASSES)),
        "subject": Value("string"), "action_units": List(unit), "seed": Value("int64"),
        "index": Value("int64"), "file_name": Value("string"), "onset": Value("int64"),
        "apex": Value("int64"), "offset": Value("int64"), "peak_px": Value("float64"),
    }  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    features = Features({name: kinds[name] for name in columns})
    Dataset.from_dict(columns, features=features).to_parquet(str(path))


def dataset_card(repo_id: str, columns: dict[str, Any], subjects: int, seed: int) -> DatasetCard:
    """Write the card of a dataset, with counts of what was drawn."""
    counts = np.bincount(columns["label"], minlength=len(CLASSES)).tolist()
    units = Counter(
        (label, unit["name"])
        for label, shown in zip(columns["label"].tolist(), columns["action_units"], strict=True)
        for unit in shown
    )
    names = sorted({name for _, name in units}, key=lambda name: int(name.removeprefix("AU")))
    metadata = {
        "task_categories": ["image-classification"],
        "size_categories": [next(name for limit, name in SIZES if sum(counts) < limit)],
        "tags": ["synthetic", TAG, "facial-expression"],
    }
    facts = {
        "shape": columns["flow"].shape[1:],
        "classes": CLASSES,
        "counts": counts,
        "shares": {name: [units[i, name] / max(n, 1) for i, n in enumerate(counts)] for name in names},
        "subjects": subjects,
        "seed": seed,
    }
    return generated_data_card(repo_id, "dataset.md", metadata, facts)
