"""Rows of the ablation differ in what they name, and every evaluation on real maps is logged."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import ablation
from mer_hf.cli import main as mer_hf
from mer_hf.training.samples import FlowMapSamples


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ablation, "EPOCHS", 1)
    monkeypatch.setattr(ablation, "HELD_OUT_MAPS", 6)
    two = {name: ablation.ROWS[name] for name in ("five seeds together", "AU frequencies: textbook")}
    small = {"config": {"hidden_size": 12, "depths": [1, 1, 1]}, "maps": 128}
    rows = {name: replace(row, seeds=min(row.seeds, 2), **small) for name, row in two.items()}
    monkeypatch.setattr(ablation, "ROWS", rows)


def test_a_row_changes_the_bundled_run_in_what_it_names_and_nothing_else(tmp_path):
    plain = ablation.run_of(ablation.ROWS["as bundled"], 0, tmp_path, tmp_path, 0)
    assert plain.config["hidden_size"] == 48 and plain.label_smoothing == 0.1 and plain.augment_noise == 0.9
    differ = {}
    for name, row in ablation.ROWS.items():
        run = ablation.run_of(row, 0, tmp_path, tmp_path, 0)
        differ[name] = {key for key, value in run.stored().items() if value != plain.stored()[key]}
    expected = {
        "number of maps": {"num_samples"}, "size": {"config"}, "normalisation": {"processor"},
        "augmentation noise in each epoch": {"augment_noise"}, "class shares": {"generator"},
        "noise": {"generator"}, "geometry": {"generator"}, "flow": {"generator"},
    }  # fmt: skip
    for name, found in differ.items():
        assert found == expected.get(name.partition(":")[0], set()), name


def test_each_row_draws_what_it_names(tmp_path):
    plain = FlowMapSamples(None).view(0, 12)
    for name, row in ablation.ROWS.items():
        if not row.generator:
            continue
        view = FlowMapSamples(None, ablation.run_of(row, 0, tmp_path, tmp_path, 0).generator).view(0, 12)
        assert any(not np.array_equal(view[i]["flow"], plain[i]["flow"]) for i in range(12)), name


@pytest.mark.slow
def test_networks_answer_together_by_the_mean_of_their_probabilities(quick, tmp_path):
    both, processor = ablation.trained(ablation.ROWS["five seeds together"], tmp_path, 0)
    flow = np.stack([FlowMapSamples(None).view(0, 8)[i]["flow"] for i in range(8)])
    answers = [ablation.predict_flow_maps(model, processor, flow) for model in both.models]
    assert len(answers) == 2 and not np.allclose(*answers)
    np.testing.assert_allclose(
        ablation.predict_flow_maps(both, processor, flow), np.mean(answers, axis=0), atol=1e-6
    )


@pytest.mark.slow
def test_maps_of_other_action_units_are_not_taken_for_those_that_are_kept(quick, tmp_path):
    ablation.trained(ablation.ROWS["AU frequencies: textbook"], tmp_path, 0)
    assert not list(tmp_path.iterdir())
    ablation.trained(replace(ablation.ROWS["five seeds together"], seeds=1), tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_every_row_is_scored_and_every_look_is_noted(quick, tmp_path, monkeypatch, capsys):
    flows, out, log = (tmp_path / name for name in ("flows.npz", "out.json", "log.jsonl"))
    assert mer_hf(["synth-flows", "--subjects", "3", "--out", str(flows)]) == 0
    arguments = ["--out", str(out), "--flows", str(flows), "--log", str(log)]
    monkeypatch.setattr(sys, "argv", ["ablation", *arguments])
    ablation.main()
    ablation.main()  # what stands in the file is not run, and not looked at, again
    found = json.loads(out.read_text())
    assert list(found) == list(ablation.ROWS) and all(len(row["settings"]) == 11 for row in found.values())
    looks = [json.loads(line) for line in log.read_text().splitlines()]
    assert [look["model"] for look in looks] == [f"ablation: {name}" for name in ablation.ROWS]
    assert [look["uf1"] for look in looks] == [row["real_uf1"] for row in found.values()]
    monkeypatch.setattr(sys, "argv", ["ablation", *arguments[:4]])
    with pytest.raises(SystemExit):
        ablation.main()
    assert "--flows and --log go together" in capsys.readouterr().err
