import json

import numpy as np
import pytest

from mer_hf.cli import main
from mer_hf.evaluation import measure
from mer_hf.evaluation.clip_sets import SILENT
from tests.evaluation.results_by_hand import many, result


def answered(label, said, **changes):
    logits = np.log(np.where(np.arange(3) == said, 0.8, 0.1))
    return result(label, logits, **{"activations": {"AU4": (1.0, 0.2)}, "peak_px": 1.0} | changes)


def some():
    at_1_px, at_2_px, talk = {"row": ("size", "1")}, {"row": ("size", "2")}, {"row": ("silent", "talk")}
    results = [answered(0, 0, **at_1_px) for _ in range(3)]
    results += [answered(0, 1, **at_1_px), answered(0, 0, outcome="no_motion", **at_1_px)]
    results += [answered(1, 1, peak_px=2.0, **at_2_px)]
    results += [answered(-1, 0, outcome="other_motion", **talk) for _ in range(3)]
    return [*results, answered(-1, 0, **talk)]


def test_tables_count_what_was_reported_and_what_was_right():
    reported = measure.report(some(), "a note")
    assert reported["summary"]["recognised_at_1_px"] == 0.6
    assert reported["summary"]["silent_on_talk"] == 0.75
    assert reported["summary"]["smallest_motion_px_at_80_percent"] == 1.5
    rows = {table["title"]: table["rows"] for table in reported["tables"]}
    assert rows["Smallest motion that is recognised"] == [
        ["1", "80%", "60%", "5"],
        ["2", "100%", "100%", "1"],
    ]
    assert rows["Clips without an expression"] == [["talk", "75%", "4"]]
    assert rows["By action unit (1 px and more)"] == [["AU4", "67%", "6"]]
    assert sum(int(row[-1]) for row in rows["By skin tone (1 px and more)"]) == 6
    stored = json.loads(measure.to_json(reported))
    assert ["recognised at 1 px", "0.6"] in stored[0]["rows"] and stored[1]["note"] == "a note"
    assert all(len(row) == len(table["columns"]) for table in stored for row in table["rows"])


def test_a_network_that_takes_action_units_is_also_counted_without_them():
    without = [answered(0, 2, row=row) for row in [("size", "1"), ("size", "2")]]
    table = measure.report(some(), "a note", without)["tables"][-1]
    assert table["rows"] == [["1", "60%", "0%"], ["2", "100%", "0%"]]
    assert table["columns"][1:] == ["right class with estimated action units", "without"]


def test_smallest_motion_lies_between_measured_sizes():
    assert measure.smallest({0.5: 0.2, 1.0: 0.6, 2.0: 1.0}, 0.8) == 1.5
    assert measure.smallest({0.5: 0.9, 1.0: 0.95}, 0.8) == 0.5 and measure.smallest({0.5: 0.1}, 0.8) is None


@pytest.mark.parametrize(
    ("row", "clips"), [(("size", "0.5"), 2), (("size", "1"), 6), (("silent", "gaze"), 6)]
)
def test_three_times_as_many_clips_are_taken_where_a_promise_is_measured(row, clips):
    tests = measure.measurement_clips(2)
    assert sum(test.row == row for test in tests) == clips and len(tests) == 2 * (8 + 3 * len(SILENT) + 9)


def test_what_is_measured_is_written_to_a_file_and_to_an_existing_card(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("mine <!-- measured -->old<!-- /measured --> too")
    results = {str(tmp_path): many()}
    monkeypatch.setattr("mer_hf.evaluation.clip_results.evaluate_clips", lambda *_, **__: results)
    assert main(["measure", str(tmp_path), "--clips", "1"]) == 0, capsys.readouterr().err
    stored, card = json.loads((tmp_path / measure.FILE).read_text()), (tmp_path / "README.md").read_text()
    assert card.startswith("mine <!-- measured -->") and card.endswith("<!-- /measured --> too")
    assert "old" not in card
    assert all(f"**{table['title']}**" in card for table in stored) and "mer-hf measure --clips 1" in card
