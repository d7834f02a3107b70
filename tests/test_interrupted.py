"""Commands that are killed, and disks that fill: nothing is lost, half-written or silently wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("interrupted.py")


def interrupted(folder, command, kills, fills) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, command, str(kills), str(fills)],
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def can_mount(folder) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", folder], capture_output=True)
    return done.returncode == 0 and subprocess.run(["umount", folder]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "prepare", "train", "push"])
def test_a_command_killed_at_any_moment_ends_in_the_same_result(command, tmp_path):
    assert interrupted(tmp_path, command, 50, 0).get("killed", 0) >= 25


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "prepare", "train", "push"])
def test_a_disk_that_fills_at_any_moment_ends_in_one_line(command, tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("needs the right to mount a tmpfs")
    counts = interrupted(tmp_path, command, 0, 20)
    assert counts["refused"] and counts["done"]
