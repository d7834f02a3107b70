"""The package installs where no machine of ours runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.14"])
def test_every_requirement_has_a_wheel(version, tmp_path):
    """As `pip install` would choose them there; nothing is built or installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    there = ["--python-version", version, "--only-binary", ":all:", "--target", str(tmp_path / "none")]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*command, *there, *constraints, f"{ROOT}[train,space]"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_version_that_is_not_supported_is_refused_by_the_package_itself():
    import tomllib

    from packaging.specifiers import SpecifierSet

    supported = SpecifierSet(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    versions = ("3.10.9", "3.11.0", "3.12.1", "3.13.0", "3.14.0", "3.15.0")
    assert [version in supported for version in versions] == [False, True, True, True, True, False]
