"""The documents: pages are reached, links lead somewhere, commands parse, examples run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mer_hf
from mer_hf.cli import build_parser
from mer_hf.registry import ARCHITECTURES
from mkdocs_hooks import on_page_content

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
NOT_COMMANDS = ("[", "...")
"""Of a line that shows what may follow, and of one that is cut off."""
RUN = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("one-clip", "long-video", "interchange", "flow-maps", "live")),
]
GIVEN = """
import numpy as np
from mer_hf import read_clip
maps = np.arange(2 * 28 * 28 * 3, dtype=np.uint8).reshape(2, 28, 28, 3)
clip = read_clip("clip.mp4")
camera = zip(clip.frames, clip.timestamps_s)
"""
"""What the reader of an example has."""
TRAVELLING = {"Clip", "FaceTrack", "FaceGeometry", "Phases", "LongVideo", "spot_long"}
"""What the public names take and give."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def pages_of(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(each)]


def test_every_page_stands_in_the_navigation_once():
    pages = pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(pages) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert DOCS not in page.parents or target.is_relative_to(DOCS), f"{link} leads out of the site"
        assert not anchor or anchor in anchors(target), link


def test_the_reference_lists_exactly_the_public_names():
    found = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    classes = ("config", "model", "classifier", "processor", "video_processor")
    networks = {
        getattr(each, f"{kind}_class").__name__ for each in ARCHITECTURES.values() for kind in classes
    }
    public = set(mer_hf.__all__) - {"__version__"} | TRAVELLING | networks
    assert sorted(path.rpartition(".")[2] for path in found) == sorted(public)


def commands() -> list:
    lines = {
        line.split("  #")[0].split(" > ")[0].strip()
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", "").splitlines()
        if line.startswith("mer-hf ") and not any(sign in line for sign in NOT_COMMANDS)
    }
    assert len(lines) > 20
    return sorted(lines)


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_every_example_runs(page, tmp_path, example_file):
    for name in ("clip.mp4", "interview.mp4"):
        (tmp_path / name).symlink_to(example_file("positive"))
    for block in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", GIVEN + block], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        for said in re.findall(r"^# (.*)$", block, re.MULTILINE):  # what the page says that it prints
            assert said in done.stdout


def test_every_page_with_an_example_is_among_those_that_are_run():
    with_examples = {name_of(page) for page in PAGES if blocks(page, "python")}
    assert with_examples - {name_of(page) for page in RUN} == {"docs/hub.md"}  # loads from the Hub


def test_the_reference_gives_type_and_default_of_an_argument_in_columns_of_their_own():
    row = (
        '<tr class="doc-section-item"><td><code>size</code></td><td><code>{kind}</code></td>'
        "<td>`a` is code</td><td><em>{default}</em></td></tr>"
    )
    rows = [
        row.format(kind="`int` or [`Clip`], *optional*, defaults to `[2, 2]`", default="required"),
        row.format(kind="`int`, *optional*", default="required"),
        row.format(kind="`int`", default="required"),
    ]
    given, optional, needed = (on_page_content(each) for each in rows)
    assert "<code>int or Clip</code>" in given and "<code>[2, 2]</code></td></tr>" in given
    assert "<code>int</code>" in optional and "<em>optional</em>" in optional
    assert "<code>int</code>" in needed and "<em>required</em>" in needed
