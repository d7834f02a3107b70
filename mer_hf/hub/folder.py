"""The folder that a Hub repository receives: assembled from a list of what may leave, checked before it does.

Allowed are safetensors, the JSON files of a checkpoint, the architecture's own code files as this package has
them, a card, and pictures that a manifest says were rendered from synthetic data. Nothing else is copied,
whatever lies beside it; what looks like weights and is none stops everything.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES, Architecture
from mer_hf.utils.provenance import sha256_of

from .origin import public_record

SETTINGS = ("config.json", "preprocessor_config.json", "train_config.json", "calibration.json", "report.json",
            "evaluation.json")  # fmt: skip
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
PICTURES = (".png", ".jpg", ".webp")
MANIFEST = "pictures.json"
EVAL_RESULTS = re.compile(r"\.eval_results/[a-z0-9._-]+\.yaml")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy")


@dataclass(frozen=True)
class Source:
    """A checkpoint that is going to be published.

    Attributes:
        path (`Path`): Its folder.
        architecture ([`Architecture`]): Its classes.
        weights (`tuple[str, ...]`): Names of its weight files.
        pictures (`tuple[str, ...]`): Names of pictures that may leave.
    """

    path: Path
    architecture: Architecture
    weights: tuple[str, ...]
    pictures: tuple[str, ...]


def read_source(path: Path) -> Source:
    """Look at a checkpoint's folder and refuse what must not be published.

    Args:
        path (`Path`): Holds config.json, preprocessor_config.json and weights.

    Returns:
        [`Source`]: What may leave.

    Raises:
        ValueError: In one line, if the folder is no checkpoint of ours, holds pickled weights, a link that
            leads out of it, a file that is named like weights and is none, or an index that names a shard
            that is not there.
    """
    refuse_unsafe(path)
    for name in ("config.json", "preprocessor_config.json"):
        if not (path / name).is_file():
            raise ValueError(f"{path} lacks {name}, so it is no checkpoint that can be published.")
    try:
        key = json.loads((path / "config.json").read_text()).get("model_type")
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'} is no JSON ({error}).") from error
    if key not in ARCHITECTURES:
        raise ValueError(
            f"{path} holds a model of type {key!r}; this package publishes {', '.join(ARCHITECTURES)}."
        )
    weights = _weights_of(path)
    for name in weights:
        _check_safetensors(path / name)
    return Source(path, ARCHITECTURES[key], weights, pictures_of(path))


def refuse_unsafe(path: Path) -> None:
    """Refuse a folder with pickled weights, or a link that leads out of it.

    Raises:
        ValueError: In one line, also if it is no folder.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder. Give a checkpoint, such as a run's --output-dir.")
    for each in path.rglob("*"):
        if each.is_symlink() and not each.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"{each} is a link that leads out of the folder. Replace it by the file itself.")
    pickles = sorted(each.name for each in path.iterdir() if each.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(
            f"{path} holds {pickles[0]}, which may be a pickle. Publish safetensors alone: remove it."
        )


def _weights_of(path: Path) -> tuple[str, ...]:
    """One file, or the shards that an index names."""
    if (path / INDEX).is_file():
        named = json.loads((path / INDEX).read_text()).get("weight_map", {})
        shards = sorted(set(named.values()))
        if not shards:
            raise ValueError(f"{path / INDEX} names no shard.")
        for name in shards:
            if Path(name).name != name or not (path / name).is_file():
                raise ValueError(
                    f"{path / INDEX} names the shard {name}, which is not there. Save the model again."
                )
        return tuple(shards)
    if not (path / WEIGHTS).is_file():
        raise ValueError(f"{path} lacks {WEIGHTS}. Is the run finished?")
    return (WEIGHTS,)


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is named like weights and is no safetensors file ({reason}).") from error


def pictures_of(path: Path) -> tuple[str, ...]:
    """Pictures whose hash stands in the manifest as rendered from synthetic data; any other stays here."""
    if not (path / MANIFEST).is_file():
        return ()
    synthetic = set(json.loads((path / MANIFEST).read_text()).get("synthetic", {}).values())
    found = [each for each in path.iterdir() if each.suffix.lower() in PICTURES]
    return tuple(sorted(each.name for each in found if sha256_of(each) in synthetic))


def place(source: Path, target: Path) -> None:
    """A file at another place, without a copy where the disk allows it: dozens of folds are large."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def code_files(architecture: Architecture) -> list[Path]:
    """The files that a repository of an architecture carries, as this package has them."""
    folder = Path(sys.modules[architecture.config_class.__module__].__file__).parent
    return sorted(each for each in folder.glob("*.py") if not each.name.startswith(("convert_", "__init__")))


def assemble(
    source: Source,
    card: str,
    folder: Path,
    *,
    rendered: Path | None = None,
    texts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Copy what may leave into an empty folder.

    Args:
        source ([`Source`]): From [`read_source`].
        card (`str`): README.md.
        folder (`Path`): Empty.
        rendered (`Path`, *optional*): A folder with pictures of its own and the manifest that lets them
            leave.
        texts (`Mapping[str, str]`, *optional*): Path to text of `.eval_results/*.yaml`.

    Returns:
        `list[Path]`: The files, sorted.

    Raises:
        ValueError: If a text is none that may leave.
    """
    names = [*source.weights]
    names += [name for name in (*SETTINGS, INDEX) if (source.path / name).is_file()]
    for name in names:
        shutil.copyfile(source.path / name, folder / name)
    record = folder / "train_config.json"
    if record.is_file():
        record.write_text(json.dumps(public_record(json.loads(record.read_text())), indent=2) + "\n")
    _copy_pictures([source.path, *([rendered] if rendered else [])], folder)
    for each in code_files(source.architecture):
        shutil.copyfile(each, folder / each.name)
    for name, text in (texts or {}).items():
        if not EVAL_RESULTS.fullmatch(name):
            raise ValueError(f"{name} is none of the files that may be published.")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "README.md").write_text(card)
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _copy_pictures(places: list[Path], folder: Path) -> None:
    """The pictures of each place that its manifest lets leave, and one manifest of them."""
    hashes = {}
    for place in places:
        for name in pictures_of(place):
            shutil.copyfile(place / name, folder / name)
            hashes[name] = sha256_of(folder / name)
    if hashes:
        (folder / MANIFEST).write_text(json.dumps({"synthetic": hashes}, indent=1) + "\n")


# What the clean process runs: it sees the folder as a stranger does.
STRANGER = """
import json, sys
class WithoutThePackage:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "mer_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, WithoutThePackage)
import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification
folder, inputs, found, *subfolders = sys.argv[1:]
with np.load(inputs) as given:
    given = {name: torch.from_numpy(given[name]) for name in given.files}
answers = {}
for subfolder in subfolders:
    options = {"trust_remote_code": True, "subfolder": subfolder}
    model = AutoModelForVideoClassification.from_pretrained(folder, **options).eval()
    AutoModel.from_pretrained(folder, **options)
    AutoImageProcessor.from_pretrained(folder, **options)
    with torch.no_grad():
        answers[subfolder] = model(**given).logits.float().numpy()
np.savez(found, **answers)
assert not [name for name in sys.modules if name.partition(".")[0] == "mer_hf"]
"""


def example_inputs(processor, config) -> dict[str, torch.Tensor]:
    """Inputs of two random clips, through a checkpoint's own image processor."""
    size = (processor.face_geometry or {}).get("size", 224)
    clips = [
        np.random.default_rng(seed).integers(0, 256, (8, size, size, 3), dtype=np.uint8) for seed in (0, 1)
    ]
    return dict(processor(images=clips, onset=0, apex=4, offset=7, return_tensors="pt"))


def check(folder: Path, source: Source, below: Mapping[str, Source] | None = None) -> None:
    """Load an assembled folder in a clean process without this package, and compare its logits.

    Args:
        folder (`Path`): From [`assemble`].
        source ([`Source`]): What it was made from.
        below (`Mapping[str, Source]`, *optional*): Subfolder of it that holds a checkpoint too -> what that
            was made from; of the same image processor.

    Raises:
        ValueError: In one line, if it does not load there, or answers something else.
    """
    sources = {"": source, **(below or {})}
    model, processor = load(source.path)
    inputs = example_inputs(processor, model.config)
    answers = _answers_of_a_stranger(folder, inputs, list(sources))
    for subfolder, each in sources.items():
        with torch.no_grad():
            expected = load(each.path)[0](**inputs).logits.float().numpy()
        if not np.array_equal(answers[subfolder], expected):
            raise ValueError(
                f"{subfolder or 'the assembled folder'} answers otherwise than its source, by "
                f"{np.abs(answers[subfolder] - expected).max():.3g}."
            )


def _answers_of_a_stranger(
    folder: Path, inputs: dict[str, torch.Tensor], subfolders: list[str]
) -> dict[str, np.ndarray]:
    """Logits from each subfolder, computed in a clean process without this package."""
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch) / "given.npz", Path(scratch) / "found.npz"
        np.savez(given, **{name: tensor.numpy() for name, tensor in inputs.items()})
        command = [sys.executable, "-c", STRANGER, str(folder.resolve()), str(given), str(found), *subfolders]
        done = subprocess.run(
            command,
            cwd=scratch,
            env=_clean_environment(scratch),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ValueError(f"the assembled folder does not load without this package: {last[0]}")
        with np.load(found) as answers:
            return dict(answers)


def _clean_environment(scratch: str) -> dict[str, str]:
    """Of a process with an empty module cache and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    return kept | {"HF_HOME": f"{scratch}/home", "HF_HUB_OFFLINE": "1"}
