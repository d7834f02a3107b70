"""Malformed input ends in one line, soon and in little memory."""

import subprocess
import sys
from pathlib import Path

from tests.fuzz.__main__ import all_cases, sample

ROOT = Path(__file__).parents[2]


def test_a_sample_spreads_over_all_kinds():
    cases = all_cases()
    assert len(cases) >= 1200
    chosen = sample(cases, 200)
    assert {(case.door, case.kind) for case in chosen} == {(case.door, case.kind) for case in cases}
    assert len({case.id for case in chosen}) == len(chosen) <= 220


def test_malformed_input_is_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--sample", "200"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
