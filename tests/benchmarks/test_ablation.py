"""Rows of the ablation differ in what they name, and no look at real maps goes unnoticed."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import ablation
from mer_hf.cli import main as mer_hf
from mer_hf.models.htnet import HTNetImageProcessor


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ablation, "EPOCHS", 1)
    monkeypatch.setattr(ablation, "BATCH", 8)
    monkeypatch.setattr(ablation, "HELD_OUT_MAPS", 6)
    monkeypatch.setattr(ablation, "CONFIG", {"hidden_size": 12, "depths": [1, 1, 1]})
    two = {name: ablation.ROWS[name] for name in ("five seeds together", "AU frequencies: textbook")}
    rows = {name: replace(row, maps=24, seeds=min(row.seeds, 2)) for name, row in two.items()}
    monkeypatch.setattr(ablation, "ROWS", rows)


def test_each_row_draws_what_it_names():
    drawn = {
        name: ablation.maps_of(replace(row, maps=12), 0)["flow"]
        for name, row in ablation.ROWS.items()
        if row.settings or row.shares or name == "as bundled"
    }
    plain = drawn.pop("as bundled")
    assert len(drawn) == 8 and all(not np.array_equal(plain, flow) for flow in drawn.values())


def test_networks_answer_together_by_the_mean_of_their_probabilities(quick):
    row = ablation.ROWS["five seeds together"]
    processor = HTNetImageProcessor(**ablation.PROCESSOR)
    arrays = ablation.maps_of(row, 0)
    first, second = (ablation.train(row, seed, arrays, processor) for seed in (0, 1))
    answers = [ablation.predict_flow_maps(model, processor, arrays["flow"]) for model in (first, second)]
    assert not np.allclose(*answers)
    both = ablation.predict_flow_maps(ablation.Together([first, second]), processor, arrays["flow"])
    np.testing.assert_allclose(both, np.mean(answers, axis=0), atol=1e-6)


def test_every_row_is_scored_and_every_look_is_noted(quick, tmp_path, monkeypatch, capsys):
    flows, out, log = (tmp_path / name for name in ("flows.npz", "out.json", "log.jsonl"))
    assert mer_hf(["synth-flows", "--subjects", "3", "--out", str(flows)]) == 0
    arguments = ["--out", str(out), "--flows", str(flows), "--log", str(log)]
    monkeypatch.setattr(sys, "argv", ["ablation", *arguments])
    ablation.main()
    ablation.main()  # what stands in the file is not run, and not looked at, again
    found = json.loads(out.read_text())
    assert list(found) == list(ablation.ROWS) and all(len(row["settings"]) == 6 for row in found.values())
    looks = [json.loads(line) for line in log.read_text().splitlines()]
    assert [look["model"] for look in looks] == [f"ablation: {name}" for name in ablation.ROWS]
    assert [look["uf1"] for look in looks] == [row["real_uf1"] for row in found.values()]
    monkeypatch.setattr(sys, "argv", ["ablation", *arguments[:4]])
    with pytest.raises(SystemExit):
        ablation.main()
    assert "--flows and --log go together" in capsys.readouterr().err
