"""What holds for the repository: who imports whom, versions that agree, one line where a piece is missing."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mer_hf.face.tracking import BUNDLE
from mer_hf.utils.provenance import sha256_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mer_hf"
CHECKPOINTS = PACKAGE / "checkpoints"  # its code files are copies, made when the package is built
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# A room may use the lines above its own; rooms of one line do not use each other.
LINES = [
    {"labels", "utils", "video", "models"},
    {"registry"},
    {"face", "loading"},
    {"interchange"},
    {"inference", "synthetic"},
    {"visualization", "data"},
    {"evaluation"},
    {"training"},
    {"hub"},
    {"cli", "space"},
]
MAY_USE: dict[str, set[str]] = {}
for line in LINES:
    above = set(MAY_USE)
    MAY_USE |= dict.fromkeys(line, above)
MAY_USE["models"] = {"utils"}  # the converters; a test below keeps it from what is copied to the Hub
MAY_USE["video"] = {"utils"}
MAY_USE["registry"] = {"models"}
MAY_USE["face"] = {"labels", "video", "models"}  # models: flow.py re-exports HTNet's optical flow
MAY_USE["__init__"] = {"registry", "inference"}
MAY_USE["__main__"] = {"cli"}
# Outside the package: each like the room that it stands for.
OUTSIDE = {"train.py": MAY_USE["hub"], "space": MAY_USE["space"], "benchmarks": set(MAY_USE)}

MODEL_IMPORTS = {"torch", "numpy", "PIL", "transformers", "huggingface_hub"}


class Import(NamedTuple):
    file: Path
    module: str  # absolute; relative ones are resolved
    names: tuple[str, ...]
    level: int
    guarded: bool  # inside try / except ImportError


def imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text())
    guarded = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in node.handlers)
        for statement in node.body
        for child in ast.walk(statement)
    }
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, alias.name, (), 0, id(node) in guarded)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = tuple(alias.name for alias in node.names)
            yield Import(file, module, names, node.level, id(node) in guarded)


def rooms_used(entry: Import) -> set[str]:
    """The rooms of the package that an import statement names."""
    parts = entry.module.split(".")
    if parts[0] != "mer_hf":
        return set()
    if len(parts) > 1:
        return {parts[1]}
    return {name for name in entry.names if name in MAY_USE or (PACKAGE / name).is_dir()}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def python_files(top: Path) -> list[Path]:
    if top.is_dir():
        return sorted(file for file in top.rglob("*.py") if CHECKPOINTS not in file.parents)
    return [top] if top.exists() else []


def test_every_room_is_in_the_table_of_who_may_use_whom():
    unknown = {room_of(file) for file in python_files(PACKAGE)} - set(MAY_USE)
    assert not unknown, f"say in LINES who may use {sorted(unknown)}"


def is_copied_to_the_hub(file: Path) -> bool:
    return PACKAGE / "models" in file.parents and not file.name.startswith(("convert", "__init__"))


def uses_outside(file: Path, allowed: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} uses {used}"
        for entry in imports_of(file)
        for used in rooms_used(entry)
        if used not in allowed and not (entry.guarded and is_copied_to_the_hub(file))
    ]


def test_rooms_use_only_those_before_them():
    wrong = []
    for file in python_files(PACKAGE):
        room = room_of(file)
        wrong += uses_outside(file, MAY_USE.get(room, set()) | {room})
    for name, allowed in OUTSIDE.items():
        for file in python_files(ROOT / name):
            wrong += uses_outside(file, allowed)
    assert not wrong, "\n".join(wrong)


def test_model_folders_can_be_copied_to_the_hub():
    """Only what a stranger has, and only the one relative form that save_pretrained finds and copies."""
    wrong = []
    for file in filter(is_copied_to_the_hub, python_files(PACKAGE)):
        for entry in imports_of(file):
            top = entry.module.split(".")[0]
            own = entry.level == 1 and len(entry.module.split(".")) == len(file.relative_to(ROOT).parts)
            known = top in MODEL_IMPORTS or top in sys.stdlib_module_names
            known = known or (top in ("cv2", "mer_hf") and entry.guarded)
            if not own and (entry.level or not known):
                wrong.append(f"{file.relative_to(ROOT)} imports {entry.module}")
    assert not wrong, "\n".join(wrong)


def test_the_scan_of_imports_sees_what_it_should(tmp_path, monkeypatch):
    file = PACKAGE / "models" / "x" / "modeling_x.py"
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda *_: (
            "from . import a\nfrom .b import c\nfrom ..registry import d\nfrom mer_hf import video\n"
            "def f():\n    import mer_hf.face\ntry:\n    import cv2\nexcept ImportError:\n    cv2 = None\n"
        ),
    )
    entries = list(imports_of(file))
    assert [entry.module for entry in entries if entry.level] == [
        "mer_hf.models.x",
        "mer_hf.models.x.b",
        "mer_hf.models.registry",
    ]
    assert set().union(*(rooms_used(e) for e in entries if not e.level)) == {"video", "face"}
    assert [entry.guarded for entry in entries if entry.module == "cv2"] == [True]


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for group in (PROJECT["dependencies"], *extras) for line in group]


def constraints() -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    names = [canonicalize_name(requirement.name) for requirement in found]
    assert len(set(names)) == len(names), "a package is named twice"
    return dict(zip(names, found, strict=True))


def test_constraints_name_one_version_of_everything_within_the_ranges():
    pinned = constraints()
    for requirement in pinned.values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, str(requirement)
    for requirement in requirements():
        (specifier,) = pinned[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(specifier.version), f"{requirement} and {specifier}"


def test_mediapipe_is_one_that_reports_to_nobody_and_one_opencv_is_installed():
    """Two OpenCV packages overwrite each other's files."""
    (mediapipe,) = (requirement for requirement in requirements() if requirement.name == "mediapipe")
    versions = ("0.10.29", "0.10.30", "0.10.33", "0.10.34", "0.10.35", "1.0.0")
    assert [version for version in versions if version in mediapipe.specifier] == ["0.10.30", "0.10.33"]
    names = {canonicalize_name(requirement.name) for requirement in requirements()} | set(constraints())
    assert {name for name in names if name.startswith("opencv")} == {"opencv-contrib-python"}
    assert not names & {"torchvision", "timm", "jax"}
    assert "protobuf" not in {requirement.name for requirement in requirements()}


def test_the_face_models_are_those_that_the_notice_names():
    notice = (ROOT / "mer_hf" / "face" / "NOTICE").read_text()
    assert f"SHA-256  {sha256_of(ROOT / 'mer_hf' / 'face' / BUNDLE)}\n" in notice


def test_the_citation_has_the_package_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_somebodys_machine():
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/\w|\.\./shar" + r"ed\b")
    wrong = []
    for file in tracked_files():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{file.relative_to(ROOT)}: {found[0]}" for found in pattern.finditer(text)]
    assert not wrong, "\n".join(wrong)


PLACEHOLDERS = {"OWNER/NAME", "OWNER/DATASET", "OWNER/SPACE", "owner/name"}
REAL_REPOSITORIES: set[str] = set()
"""Repositories of the Hub that were looked up and exist, by their ids; add one only after doing so."""
NO_REPOSITORIES = {"GB/s", "GFLOP/s", "A/B", "UF1/UAR", "and/or"}
FOLDERS = {"build", "casme2", "checkpoints", "clips", "data", "folds", "frames", "part_A", "prepared", "runs"}
"""First parts of paths that examples write, beside the folders of the repository itself."""

ID = r"[A-Za-z0-9][\w-]*(?:\.[\w-]+)*/[A-Za-z0-9][\w-]*(?:\.[\w-]+)*"
ID_IN_WORDS = re.compile(rf"(?<![\w/.:@{{}}~*<%-])({ID})(?![\w/*-])")
ID_IN_CODE = re.compile(
    rf"""(?:from_pretrained\(|load_dataset\(|repo_id=|--(?:model|init-from)[ =])\s*["']?({ID})(?![\w/])"""
)
ID_IN_ADDRESS = re.compile(rf"(?:huggingface\.co|hf\.co)/(?:datasets/|spaces/)?({ID})")


def ids_of_repositories(text: str, words: bool) -> set[str]:
    """What reads like the id of a Hub repository; in code only where one is named."""
    found = {each for pattern in (ID_IN_CODE, ID_IN_ADDRESS) for each in pattern.findall(text)}
    return found | set(ID_IN_WORDS.findall(text) if words else ())


def is_no_repository(found: str) -> bool:
    first, second = found.split("/")
    if first.isdigit() and second.isdigit():
        return True
    return (
        found in PLACEHOLDERS | REAL_REPOSITORIES | NO_REPOSITORIES
        or first in FOLDERS
        or (ROOT / first).exists()
    )


def test_no_repository_is_named_that_does_not_exist():
    """Somebody could take the name, and would then be trusted by all who copy the line."""
    wrong = []
    for file in tracked_files():
        place = file.relative_to(ROOT)
        told = place.parts[0] in ("README.md", "docs", "hub_cards", "space", "mer_hf", "train.py")
        if told and file.suffix in (".md", ".yaml", ".j2", ".py", ".txt"):
            names = ids_of_repositories(file.read_text(), words=file.suffix == ".md")
            wrong += [f"{place} names {name}" for name in names if not is_no_repository(name)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ('model = X.from_pretrained("someone/htnet", x)', False, {"someone/htnet"}),
        ("mer-hf predict CLIP --model someone/htnet@v1", False, {"someone/htnet"}),
        ("https://huggingface.co/spaces/someone/page.", False, {"someone/page"}),
        ("see `someone/htnet`, or someone/mmnet.", True, {"someone/htnet", "someone/mmnet"}),
        ("path/to/a/file and https://arxiv.org/abs/2307", True, set()),
        ("data[a/b]", False, set()),
    ],
)
def test_the_search_for_ids_sees_what_it_should(text, words, found):
    assert ids_of_repositories(text, words) == found


def test_readme_names_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.M)
    assert set(named) <= targets
    assert {"demo", "test", "test-slow", "lint", "bench", "checkpoints", "clean"} <= targets
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run_make(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess:
    """`make test` in a folder of its own, with a shell script in the place of Python."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-s", "test", f"PYTHON={python}"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment | variables, timeout=60
    )


@needs_make
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("exit 1", "found: none"),  # not there, or a launcher without an interpreter behind it
        ('case "$2" in *version_info*) echo 3.10;; esac', "(3.10)"),
        ('case "$2" in *version_info*) echo 3.12;; *ensurepip*) exit 1;; esac', "without venv"),
        ('case "$2" in *version_info*) echo 3.12;; *libGL*) exit 1;; esac', "libGL.so.1"),
        ('case "$2" in *version_info*) echo 3.12;; *glib*) exit 1;; esac', "libglib-2.0.so.0"),
    ],
)
def test_a_missing_piece_of_the_system_is_answered_in_one_line(tmp_path, answer, words):
    done = run_make(tmp_path, answer)
    said = [text for text in done.stderr.splitlines() if not text.startswith("make")]
    assert done.returncode != 0 and len(said) == 1, done.stderr
    assert words in said[0] and "sudo apt-get install python3-venv make libgl1 libglib2.0-0" in said[0]
    assert not (tmp_path / ".venv").exists()


# Answers like an interpreter, makes an "environment" of itself and notes what it was asked to do.
STAND_IN = """
case "$*" in
    *version_info*) echo 3.12;;
    "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv >> log;;
    "-m pip"*) echo pip >> log; [ "$NETWORK" = up ];;
    "-m pytest"*) echo pytest >> log;;
esac
"""


@needs_make
def test_an_interrupted_install_is_begun_anew_and_a_finished_one_is_kept(tmp_path):
    def log() -> str:
        text = (tmp_path / "log").read_text().split()
        (tmp_path / "log").unlink()
        return " ".join(text)

    assert run_make(tmp_path, STAND_IN, NETWORK="down").returncode != 0
    assert log() == "venv pip"
    assert run_make(tmp_path, STAND_IN, NETWORK="up").returncode == 0
    assert log() == "venv pip pytest"
    assert run_make(tmp_path, STAND_IN, NETWORK="up").returncode == 0
    assert log() == "pytest"
    later = (tmp_path / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    assert run_make(tmp_path, STAND_IN, NETWORK="down").returncode != 0
    assert log() == "pip"  # a change of versions is installed into the environment there is
    assert run_make(tmp_path, STAND_IN, NETWORK="up").returncode == 0
    assert log() == "venv pip pytest"


@needs_make
def test_an_environment_of_the_users_own_is_not_removed(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    own = tmp_path / ".venv" / "own"
    own.touch()
    (tmp_path / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\n{STAND_IN}\n")
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    for network in ("down", "up"):
        run_make(tmp_path, STAND_IN, NETWORK=network)
    assert own.exists() and (tmp_path / "log").read_text().split() == ["pip", "pip", "pytest"]
