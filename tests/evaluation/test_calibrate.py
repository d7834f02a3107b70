from dataclasses import replace

import numpy as np
import pytest

from mer_hf.cli import main
from mer_hf.evaluation import calibrate
from mer_hf.evaluation.clip_sets import SILENT
from mer_hf.inference.calibration import Calibration
from tests.evaluation.results_by_hand import many


def likely(fitted, each):
    return fitted.expression_probability(each.features)


def test_a_fit_cools_what_is_too_sure_and_silences_clips_without_an_expression():
    results = many()
    fitted = calibrate.fit(results, {"seed": 1})
    assert fitted.temperature > 1.3 and fitted.record["ece_after"] < 0.5 * fitted.record["ece_before"]
    reported = np.array([likely(fitted, each) >= fitted.threshold for each in results])
    shown = np.array([each.label >= 0 for each in results])
    assert np.mean(reported[shown]) == pytest.approx(calibrate.REPORTED, abs=0.01)
    assert np.mean(~reported[~shown]) > 0.9
    with pytest.raises(ValueError, match=r"too few to fit a calibration to\. Raise --rounds"):
        calibrate.fit(results[:10], {})


def test_a_fit_does_not_depend_on_the_last_digits_of_a_sum():
    nearly = [replace(each, logits=each.logits * (1 + 1e-13)) for each in many()]
    assert calibrate.fit(nearly, {}) == calibrate.fit(many(), {})


def test_a_round_holds_every_kind_as_it_is_and_like_ordinary_video():
    tests = calibrate.calibration_clips(2)
    assert {test.kind for test in tests} == {"expression", *SILENT}
    for ordinary in (True, False):
        kinds = [test.kind for test in tests if test.ordinary == ordinary]
        assert kinds.count("expression") == 12 and len(kinds) == len(tests) / 2


def test_a_folder_that_is_not_a_checkpoint_is_named(tmp_path, capsys):
    assert main(["calibrate", str(tmp_path)]) == 2
    assert "is not a checkpoint: it holds no config.json" in capsys.readouterr().err


def test_the_commit_is_read_before_the_first_file_is_written(tmp_path, monkeypatch, capsys):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    def git_commit():
        return "abc-dirty" if list(tmp_path.glob("*/calibration.json")) else "abc"

    results = dict.fromkeys(map(str, folders), many())
    monkeypatch.setattr("mer_hf.utils.provenance.git_commit", git_commit)
    monkeypatch.setattr("mer_hf.evaluation.clip_results.evaluate_clips", lambda *_, **__: results)
    assert main(["calibrate", *map(str, folders), "--rounds", "1"]) == 0, capsys.readouterr().err
    records = [Calibration.read(folder / "calibration.json").record for folder in folders]
    assert [record["commit"] for record in records] == ["abc", "abc"]
