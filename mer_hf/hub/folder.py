"""Assemble the folder that a Hub repository receives from a list of what may leave, and check it.

Copied are safetensors, the JSON files of a checkpoint, the architecture's code as this package has it, a
card, and pictures that a manifest declares as rendered from synthetic data. Nothing else is, whatever lies
beside them. A file with a weights suffix that is not valid safetensors aborts the push.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mer_hf.loading import PICKLES, load
from mer_hf.models.saving import save_processors
from mer_hf.registry import ARCHITECTURES, Architecture
from mer_hf.utils.provenance import sha256_of
from mer_hf.utils.settings import read_settings_of
from mer_hf.utils.untrusted import INDEX, read_header, read_json, weight_files

from .origin import public_record

SETTINGS = ("config.json", "preprocessor_config.json", "train_config.json", "calibration.json", "report.json",
            "evaluation.json")  # fmt: skip
PICTURE_SUFFIXES = (".png", ".jpg", ".webp")
PICTURE = "prediction.png"
MANIFEST = "pictures.json"


@dataclass(frozen=True)
class Source:
    """A checkpoint to publish.

    Attributes:
        path (`Path`): Its folder.
        architecture ([`Architecture`]): Its classes.
        weights (`tuple[str, ...]`): Names of its weight files.
        parameters (`int`): Numbers in them.
    """

    path: Path
    architecture: Architecture
    weights: tuple[str, ...]
    parameters: int


def read_source(path: Path) -> Source:
    """Read a checkpoint's folder, and refuse what must not be published."""
    refuse_unsafe(path)
    model, _ = load(path)  # refuses weights that do not fill the network of config.json
    files = weight_files(path)
    parameters = sum(math.prod(shape) for file in files for shape, _ in read_header(file).values())
    weights = tuple(file.name for file in files)
    return Source(path, ARCHITECTURES[model.config.model_type], weights, parameters)


def refuse_unsafe(path: Path) -> None:
    """Refuse a folder with pickled weights, or with a link that leads out of it."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder. Give a checkpoint, such as a run's --output-dir.")
    for file in path.rglob("*"):
        if file.is_symlink() and not file.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"{file} is a link that leads out of the folder. Replace it by the file itself.")
    pickles = sorted(file.name for file in path.iterdir() if file.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(
            f"{path} holds {pickles[0]}, which may be a pickle. Remove it: only safetensors leave."
        )


def pictures_of(path: Path) -> dict[str, str]:
    """Map pictures to their hashes, if the manifest lists these as rendered from synthetic data."""
    manifest = read_json(path / MANIFEST, {"synthetic": dict[str, str] | None}, {})
    synthetic = set((manifest.get("synthetic") or {}).values())
    pictures = [file for file in sorted(path.iterdir()) if file.suffix.lower() in PICTURE_SUFFIXES]
    hashes = {file.name: sha256_of(file) for file in pictures}
    return {name: digest for name, digest in hashes.items() if digest in synthetic}


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at another place, as a hard link where the disk allows it: dozens of folds are large."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def code_files(architecture: Architecture) -> list[Path]:
    """List the code files that a repository of an architecture receives."""
    folder = Path(sys.modules[architecture.config_class.__module__].__file__).parent
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith(("convert_", "__init__")))


def assemble(source: Source, folder: Path, rendered: Path | None = None) -> None:
    """Copy what may leave, except for the card, into an empty folder.

    `rendered` is a folder with further pictures, and the manifest that lets them leave.
    """
    for name in (*source.weights, *SETTINGS, INDEX):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, folder / name)
    record = folder / "train_config.json"
    if record.is_file():
        record.write_text(json.dumps(public_record(read_json(record)), indent=2) + "\n")
    pictures = {}
    for place in filter(None, (source.path, rendered)):
        pictures |= pictures_of(place)
        for name in pictures_of(place):
            shutil.copyfile(place / name, folder / name)
    if pictures:
        (folder / MANIFEST).write_text(json.dumps({"synthetic": pictures}, indent=1) + "\n")
    save_processors(read_settings_of(source.architecture.processor_class, source.path), folder)
    for file in code_files(source.architecture):
        shutil.copyfile(file, folder / file.name)


CLEAN_PROCESS = """
import json, sys
sys.modules["mer_hf"] = None  # importing it fails
import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
logits = {}
for number, (repository, options) in enumerate(json.load(open("repositories.json"))):
    options["trust_remote_code"] = True
    model = AutoModelForVideoClassification.from_pretrained(repository, **options).eval()
    AutoModel.from_pretrained(repository, **options)
    processor = AutoImageProcessor.from_pretrained(repository, **options)
    if not options.get("subfolder"):
        AutoVideoProcessor.from_pretrained(repository, **options)
    clips = list(np.load(f"{number}.npy"))
    inputs = processor(images=clips, onset=0, apex=4, offset=7, return_tensors="pt")
    with torch.no_grad():
        logits[str(number)] = model(**inputs).logits.float().numpy()
np.savez("logits.npz", **logits)
"""
"""What a clean process runs: it loads repositories as somebody does who has not installed this package."""


Repository = tuple[str, np.ndarray, dict[str, str]]
"""What a clean process loads: a folder or Hub id, clips uint8 `(N, T, S, S, 3)`, and further options."""


def example_clips(processor: Any) -> np.ndarray:
    """Draw two clips of moving waves in the size that an image processor wants: uint8 `(2, 8, S, S, 3)`."""
    size = (processor.face_geometry or {}).get("size", 224)
    y, x = np.mgrid[:size, :size] * (2 * np.pi / size)
    clip = [127 + 60 * np.sin(3 * x + 0.05 * t) + 60 * np.cos(2 * y - 0.05 * t) for t in range(8)]
    clips = np.stack([clip, clip[::-1]]).astype(np.uint8)
    return np.repeat(clips[..., None], 3, axis=-1)


def logits_of(model: Any, processor: Any, clips: np.ndarray) -> np.ndarray:
    """Classify clips as the clean process does: float32 `(N, num_classes)`."""
    inputs = processor(images=list(clips), onset=0, apex=4, offset=7, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.float().numpy()


def logits_in_clean_process(repositories: list[Repository], **environment: str) -> list[np.ndarray]:
    """Load repositories by their own code in one process without this package, and return their logits.

    The process has an empty module cache and, unless `environment` says otherwise, no network.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (_, clips, _) in enumerate(repositories):
            np.save(f"{scratch}/{number}.npy", clips)
        names = [(name, options) for name, _, options in repositories]
        Path(scratch, "repositories.json").write_text(json.dumps(names))
        done = subprocess.run(
            [sys.executable, "-c", CLEAN_PROCESS],
            cwd=scratch,
            env=kept | {"HF_HOME": f"{scratch}/home", "HF_HUB_OFFLINE": "1"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"the assembled folder does not load without this package: {reason}")
        with np.load(f"{scratch}/logits.npz") as logits:
            return [logits[str(number)] for number in range(len(repositories))]


def check(folder: Path, source: Source, below: Mapping[str, Source] | None = None) -> None:
    """Load an assembled folder in a clean process, and compare its logits with those of its source.

    `below` maps a subfolder that also holds a checkpoint to its source.
    """
    sources = {"": source, **(below or {})}
    loaded = {subfolder: load(source.path) for subfolder, source in sources.items()}
    clips = example_clips(loaded[""][1])
    repositories = [(str(folder.resolve()), clips, {"subfolder": name}) for name in sources]
    for subfolder, logits in zip(sources, logits_in_clean_process(repositories), strict=True):
        expected = logits_of(*loaded[subfolder], clips)
        if not np.allclose(logits, expected, atol=1e-6):
            raise ValueError(
                f"logits of {subfolder or 'the assembled folder'} differ from its source by up to "
                f"{np.abs(logits - expected).max():.3g}."
            )
