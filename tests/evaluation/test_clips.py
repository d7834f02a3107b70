"""Clips with a known answer, what is fitted to them, and the tables that they fill."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mer_hf.cli import main
from mer_hf.evaluation import calibrate, clips
from mer_hf.evaluation.clip_sets import SILENT, Case, KnownClip, known_clip
from mer_hf.evaluation.panel import Answer, look
from mer_hf.face.spotting import spot
from mer_hf.inference.calibration import FEATURES, features_of, log_odds
from mer_hf.inference.pipeline import MicroExpressionPipeline

SMALL = {"fps": 25.0, "interocular_px": 50.0, "noise": 0.5}


def test_a_clip_is_a_function_of_case_seed_and_index():
    one, again, other = (known_clip(Case(peak_px=2.0, **SMALL), 5, index) for index in (1, 1, 2))
    assert np.array_equal(one.clip.frames, again.clip.frames) and one.person == again.person
    assert one.person != other.person and one.activations != other.activations and one.peak_px == 2.0
    assert one.label in (0, 1, 2) and len(one.clip.frames) == 40
    assert known_clip(Case(peak_px=2.0, **SMALL), 6, 1).person != one.person
    with pytest.raises(ValueError, match="unknown kind 'sneeze'"):
        known_clip(Case("sneeze"), 0, 0)


@pytest.mark.parametrize("kind", SILENT)
def test_what_is_no_expression_has_no_label_and_moves_as_it_should(kind):
    known = known_clip(Case(kind, **SMALL), 3, 0)
    assert known.label == -1 and known.activations == {} and known.peak_px == 0
    change = np.abs(known.clip.frames.astype(int) - known.clip.frames[0]).mean(axis=(1, 2, 3))
    assert 0.3 < change.max() < 40


def test_compression_and_one_side_are_as_asked():
    plain, packed = (known_clip(Case(peak_px=2.0, crf=crf, **SMALL), 5, 1).clip.frames for crf in (None, 35))
    assert plain.shape == packed.shape and 1 < np.abs(plain.astype(int) - packed).mean() < 12
    for index in range(4):
        activations = known_clip(Case(one_sided=True, **SMALL), 5, index).activations
        assert {min(pair) for pair in activations.values()} == {0.0}


def answer(rng, kind, label, sure):
    """An answer whose network is right seven times in ten and says so nine times in ten."""
    motion = rng.normal(1.5 if kind == "expression" else 0.0, 0.4)
    right = label if rng.random() < 0.7 else (label + 1) % 3
    logits = np.where(np.arange(3) == right, sure, 0.0)
    features = dict.fromkeys(FEATURES, 0.0) | {"motion": motion}
    truth = KnownClip(None, label, {"AU12": (1.0, 1.0)}, 2.0, "person-0")
    return Answer(kind, label, "micro_expression", np.full(3, 1 / 3), logits, features, truth)


def answers():
    rng = np.random.default_rng(0)
    shown = [answer(rng, "expression", int(rng.integers(3)), 4.0) for _ in range(300)]
    return shown + [answer(rng, kind, -1, 2.0) for kind in SILENT for _ in range(40)]


def likely(fitted, each):
    sure = log_odds(fitted.probabilities(each.logits).max())
    return fitted.expression_probability(each.features | {"confidence": sure})


def test_a_fit_cools_what_is_too_sure_and_keeps_silent_what_is_none():
    fitted = calibrate.fit(answers(), {"seed": 1})
    assert fitted.temperature > 1.3 and fitted.record["ece_after"] < 0.5 * fitted.record["ece_before"]
    shown = [each for each in answers() if each.label >= 0]
    assert np.mean([likely(fitted, each) >= fitted.threshold for each in shown]) > 0.8
    for kind in SILENT:
        others = [each for each in answers() if each.kind == kind]
        silent = [likely(fitted, each) < fitted.threshold for each in others]
        assert np.mean(silent) >= calibrate.KEPT - 0.02
    with pytest.raises(ValueError, match=r"too few to fit a calibration to\. Raise --rounds"):
        calibrate.fit(answers()[:10], {})


def test_a_fit_is_the_same_again_whatever_the_last_digits_of_a_sum():
    nearly = [replace(each, logits=each.logits * (1 + 1e-13)) for each in answers()]
    assert calibrate.fit(nearly, {}) == calibrate.fit(answers(), {})


def test_the_threshold_lies_between_what_is_silent_and_what_is_reported():
    expressions = [0.9] * 20 + [0.8, 0.7]
    assert calibrate._halfway(0.2, sorted(expressions)) == pytest.approx(
        1 / (1 + np.sqrt(0.8 / 0.2 * 0.3 / 0.7)), abs=1e-6
    )
    assert calibrate._halfway(0.85, sorted(expressions)) == 0.85  # silence first


def test_tables_count_what_was_reported_and_what_was_right():
    def one(outcome, label, said, peak_px=1.0):
        scores = np.where(np.arange(3) == said, 0.8, 0.1)
        truth = KnownClip(None, label, {"AU4": (1.0, 0.2)}, peak_px, "person-0")
        features = dict.fromkeys(FEATURES, 0.0)
        return Answer("expression", label, outcome, scores, np.log(scores), features, truth)

    found = [(("size", "1.0"), one("micro_expression", 0, 0)) for _ in range(3)]
    found += [(("size", "1.0"), one("micro_expression", 0, 1)), (("size", "1.0"), one("no_motion", 0, 0))]
    found += [(("size", "2.0"), one("micro_expression", 1, 1, 2.0))]
    found += [(("silent", "talk"), one("no_micro_expression", -1, 0)) for _ in range(3)]
    found += [(("silent", "talk"), one("micro_expression", -1, 0))]
    reported = clips.report(found, "a note")
    assert reported["summary"]["recognised_at_1_px"] == 0.6
    assert reported["summary"]["silent_on_talk"] == 0.75
    assert reported["summary"]["smallest_motion_px_at_80_percent"] == 1.5
    rows = {table["title"]: table["rows"] for table in reported["tables"]}
    assert ["1", "80%", "60%", "5"] in rows["Smallest motion that is recognised"]
    assert rows["By action unit (1 px and more)"] == [["AU4", "67%", "6"]]
    stored = json.loads(clips.to_json(reported))
    assert ["recognised at 1 px", "0.6"] in stored[0]["rows"] and stored[1]["note"] == "a note"
    assert all(len(row) == len(table["columns"]) for table in stored for row in table["rows"])


def test_smallest_motion_lies_between_measured_sizes():
    assert clips.smallest({0.5: 0.2, 1.0: 0.6, 2.0: 1.0}, 0.8) == 1.5
    assert clips.smallest({0.5: 0.9, 1.0: 0.95}, 0.8) == 0.5 and clips.smallest({0.5: 0.1}, 0.8) is None


def test_no_checkpoint_is_told(tmp_path, capsys):
    assert main(["calibrate", str(tmp_path)]) == 2
    assert "is not a checkpoint: it holds no config.json" in capsys.readouterr().err


def test_what_a_command_writes_first_does_not_make_the_next_record_dirty(tmp_path, monkeypatch, capsys):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    def git_commit():
        return "abc-dirty" if list(tmp_path.glob("*/calibration.json")) else "abc"

    monkeypatch.setattr("mer_hf.utils.provenance.git_commit", git_commit)
    said = [(None, each) for each in answers()]
    monkeypatch.setattr(
        "mer_hf.evaluation.panel.look", lambda *_, **__: dict.fromkeys(map(str, folders), said)
    )
    assert main(["calibrate", *map(str, folders), "--rounds", "1"]) == 0, capsys.readouterr().err
    records = [json.loads((folder / "calibration.json").read_text())["record"] for folder in folders]
    assert [record["commit"] for record in records] == ["abc", "abc"]


def test_what_is_measured_lies_in_a_file_and_in_the_card_that_is_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("mine <!-- measured -->old<!-- /measured --> too")
    said = [(("size", "1.0") if each.label >= 0 else ("silent", each.kind), each) for each in answers()]
    monkeypatch.setattr("mer_hf.evaluation.panel.look", lambda *_, **__: {str(tmp_path): said})
    assert main(["measure", str(tmp_path), "--clips", "1"]) == 0, capsys.readouterr().err
    stored, card = json.loads((tmp_path / clips.FILE).read_text()), (tmp_path / "README.md").read_text()
    assert card.startswith("mine <!-- measured -->") and card.endswith("<!-- /measured --> too")
    assert "old" not in card
    assert all(f"**{table['title']}**" in card for table in stored) and "mer-hf measure --clips 1" in card


@pytest.mark.slow
def test_a_panel_gives_what_the_pipeline_gives_whatever_the_number_of_processes(checkpoint):
    tasks = [("expression", Case(peak_px=3.0, **SMALL)), ("talk", Case("talk", **SMALL))]
    one, two = (look([str(checkpoint)], tasks, 9, workers)[str(checkpoint)] for workers in (1, 2))
    pipe = MicroExpressionPipeline.from_pretrained(checkpoint)
    for index, ((key, first), (_, second)) in enumerate(zip(one, two, strict=True)):
        known = known_clip(tasks[index][1], 9, index)
        said = pipe(known.clip)
        assert key == tasks[index][0] and first.outcome == second.outcome == said.outcome
        assert np.allclose(first.scores, list(said.scores.values()), atol=1e-6)
        assert np.array_equal(first.scores, second.scores)
        if first.features:
            track = pipe.track(known.clip)
            found = spot(track, known.clip.timestamps_s)
            unit = pipe.geometry.size * pipe.geometry.interocular_fraction
            again = features_of(found, known.clip.timestamps_s, unit, float(first.scores.max()))
            assert again["motion"] == pytest.approx(first.features["motion"])
