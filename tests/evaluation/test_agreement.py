from dataclasses import replace

import numpy as np
import pytest

from mer_hf.cli import main
from mer_hf.evaluation.agreement import agreement
from mer_hf.interchange.coding import Coding, Event


def event(onset_s, apex_s, offset_s, label="negative", units=("AU4",), person=1):
    return Event(onset_s, apex_s, offset_s, "", label, None, dict.fromkeys(units, (0.7, 0.7)), person)


@pytest.fixture
def ana():
    events = (
        event(1.0, 1.2, 1.4),
        event(3.0, 3.3, 4.0, "positive", ("AU6", "AU12")),
        event(6.0, 6.1, 6.3, "surprise"),
    )
    return Coding("a.mp4", "00", 50.0, 10.0, "", "Ana", events)


def test_a_coding_agrees_with_itself(ana):
    found = agreement(ana, ana)
    assert found.f1 == found.label_kappa == 1.0 and (found.only_a, found.only_b) == (0, 0)
    assert {name: row["kappa"] for name, row in found.kappas.items()} == dict.fromkeys(
        ("any expression", "negative", "positive", "surprise", "AU4", "AU6", "AU12"), 1.0
    )
    assert [pair["onset_ms"] for pair in found.pairs] == [0.0] * 3


def test_what_differs_is_counted(ana):
    ben = replace(
        ana,
        events=(
            event(1.1, 1.2, 1.4),  # 0.1 s late
            event(3.0, 3.3, 4.0, "negative", ("AU12",)),  # another class, an action unit less
            event(8.0, None, 8.4, "surprise"),  # elsewhere
        ),
    )
    found = agreement(ana, ben)
    assert (len(found.pairs), found.only_a, found.only_b) == (2, 1, 1)
    assert found.pairs[0]["onset_ms"] == pytest.approx(100) and found.pairs[0]["overlap"] == pytest.approx(
        0.75
    )
    assert found.f1 == pytest.approx(4 / 6) and found.label_kappa == 0.0
    # 1.7 s and 1.7 s of 10 s, 1.3 s of them together
    assert found.kappas["any expression"] == {"kappa": pytest.approx(0.717, abs=0.01), "a": 0.17, "b": 0.17}
    assert found.kappas["AU12"]["kappa"] == 1.0 and found.kappas["AU6"]["kappa"] == 0.0


def test_people_are_kept_apart(ana):
    others = replace(ana, events=tuple(replace(each, person=2) for each in ana.events))
    found = agreement(ana, others)
    assert found.pairs == [] and found.kappas["any expression"]["kappa"] < 0


def test_without_events_nothing_is_claimed(ana):
    found = agreement(Coding(), Coding())
    assert found.f1 is None and found.kappas == {"any expression": {"kappa": None, "a": 0.0, "b": 0.0}}
    with pytest.raises(ValueError, match="of different videos"):
        agreement(ana, replace(ana, sha256="11", video="other.mp4"))
    with pytest.raises(ValueError, match=f"{ana.video} was changed or replaced between"):
        agreement(ana, replace(ana, sha256="11"))
    with pytest.raises(ValueError, match=r"a.mp4 of 10.00 s and b.mp4 of 20.00 s"):
        agreement(ana, replace(ana, sha256="", video="b.mp4", duration_s=20.0))


def test_a_class_is_the_same_in_capitals(ana):
    events = (event(1.0, 1.2, 1.4, "Negative"), *ana.events[1:])
    assert agreement(ana, replace(ana, events=events)).label_kappa == 1.0


def test_the_command_prints_and_draws(ana, tmp_path, capfd):
    ana.save(tmp_path / "ana.json")
    ben = ana.changed(0, "Ben", onset_s=1.1).changed(2, "Ben", status="rejected")
    ben.save(tmp_path / "ben.json")
    conversion = ["convert-coding", str(tmp_path / "ben.json"), str(tmp_path / "ben.eaf")]
    assert main(conversion) == 0
    coded = (tmp_path / "ben.eaf").read_bytes()
    assert main(conversion) == 2 and (tmp_path / "ben.eaf").read_bytes() == coded
    assert "ben.eaf is there already" in capfd.readouterr().err
    assert main([*conversion, "--overwrite"]) == 0
    plot = str(tmp_path / "both.png")
    assert main(["agreement", str(tmp_path / "ana.json"), str(tmp_path / "ben.eaf"), "--plot", plot]) == 0
    out = capfd.readouterr().out
    assert "2 events in both, 1 only in A, 0 only in B" in out
    assert "onset in B against A: median +50 ms, from +0 to +100" in out and "AU12" in out
    assert "apex in B against A: median +0 ms, from +0 to +0" in out
    assert (tmp_path / "both.png").stat().st_size > 5000


def test_two_files_of_one_name_are_two_rows_of_the_picture(ana, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mer_hf.visualization.figures.codings_picture",
        lambda events, lasts_s: drawn.append(events) or np.zeros((2, 2, 3), np.uint8),
    )
    files = [tmp_path / who / "a.json" for who in ("ana", "ben")]
    for file in files:
        file.parent.mkdir()
        ana.save(file)
    assert main(["agreement", *map(str, files), "--plot", str(tmp_path / "both.png")]) == 0
    assert list(drawn[0]) == [f"A: {files[0]}", f"B: {files[1]}"] and all(drawn[0].values())


def test_a_file_that_is_missing_is_refused(ana, tmp_path):
    ana.save(tmp_path / "ana.json")
    assert main(["agreement", str(tmp_path / "ana.json"), str(tmp_path / "no.eaf")]) == 2
