"""Each format is written by us, read and changed by its own program's library or by hand, and read by us."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pympi.Elan import Eaf

from mer_hf.inference.long_video import Blink, Gap, Interval, LongVideo
from mer_hf.interchange import boris, elan, facs, openface
from mer_hf.interchange.coding import Coding, Event, Span
from mer_hf.interchange.formats import WRITERS, read_coding

UNITS = ("AU1", "AU2", "AU4", "AU6", "AU12", "AU14", "AU17")


def drawn(seed: int) -> Coding:
    """Draw a coding of two people whose times are whole frames."""
    rng = np.random.default_rng(seed)
    events, blinks = [], []
    for person in (1, 2):
        at = 0
        for _ in range(rng.integers(1, 6)):
            onset = at + int(rng.integers(2, 40))
            apex = onset + int(rng.integers(1, 30))
            at = apex + int(rng.integers(1, 30))
            units = {}
            for name in rng.choice(UNITS, rng.integers(0, 4), replace=False):
                sides = rng.uniform(0.5, 1, 2).round(2) * ([1, 1], [1, 0], [0, 1])[rng.integers(3)]
                units[str(name)] = tuple(sides.tolist())
            kind = (
                "other_motion"
                if rng.random() < 0.3
                else "micro_expression"
                if at - onset <= 13
                else "expression"
            )
            label = "" if kind == "other_motion" else str(rng.choice(["negative", "positive", "surprise"]))
            likely = round(float(rng.uniform(0.3, 1)), 2) if label else None
            times_s = (each / 25 for each in (onset, apex, at))
            events.append(Event(*times_s, kind, label, likely, units, person))
        blinks.append(Span((at + 3) / 25, (at + 8) / 25, "", person))
    gaps = (Span(20.0, 21.4, "no face was found"),)
    events = tuple(events)
    return Coding("clips/ä b.mp4", "ab" * 32, 25.0, 30.0, "", "htnet", events, tuple(blinks), gaps, events)


def same(found: Coding, coding: Coding) -> bool:
    key = lambda span: (span.person, span.start_s if isinstance(span, Span) else span.onset_s)  # noqa: E731
    return all(
        sorted(getattr(found, name), key=key) == sorted(getattr(coding, name), key=key)
        for name in ("events", "blinks", "gaps")
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["a.eaf", "a.boris", "a.json"])
def test_nothing_is_lost_on_the_way_out_and_in(tmp_path, name, seed):
    coding, path = drawn(seed), tmp_path / name
    {".eaf": elan.write, ".boris": boris.write}.get(path.suffix, lambda p, c: c.save(p))(path, coding)
    found = read_coding(path)
    assert same(found, coding)
    assert (found.fps == 25.0 and found.video.endswith("ä b.mp4")) or found.video.endswith("%C3%A4%20b.mp4")
    assert path.suffix != ".json" or found == coding


@pytest.mark.parametrize("seed", range(4))
def test_tables_keep_events_and_letters(tmp_path, seed):
    coding = drawn(seed)
    facs.write(tmp_path / "a.csv", coding)
    boris.write(tmp_path / "a.tsv", coding)
    for found in (read_coding(tmp_path / "a.csv"), read_coding(tmp_path / "a.tsv")):
        assert len(found.events) == len(coding.events)
        for one, other in zip(found.kept, coding.kept, strict=True):
            assert (one.onset_s, one.apex_s, one.offset_s) == (other.onset_s, other.apex_s, other.offset_s)
            assert (one.label, one.person) == (other.label, other.person)
            assert facs.code_of(one.action_units) == facs.code_of(other.action_units)


def test_what_is_changed_in_elan_comes_back(tmp_path):
    event = Event(1.0, 1.2, 1.4, "micro_expression", "positive", 0.8, {"AU12": (0.66, 0.64)})
    elan.write(tmp_path / "a.eaf", Coding("a.mp4", fps=25.0, events=(event,)))
    eaf = Eaf(str(tmp_path / "a.eaf"))
    assert set(eaf.get_tier_names()) == {"expression", "phases", "AU12"}
    assert eaf.get_annotation_data_for_tier("expression") == [(1000, 1400, "positive (0.80)")]
    assert eaf.media_descriptors[0]["RELATIVE_MEDIA_URL"].endswith("a.mp4")
    eaf.remove_all_annotations_from_tier("expression", clean=False)
    eaf.add_annotation("expression", 960, 1800, "happiness")
    eaf.add_annotation("expression", 3000, 3300, "surprise")
    eaf.remove_all_annotations_from_tier("AU12", clean=False)
    eaf.add_annotation("AU12", 1000, 1400, "left C")
    eaf.add_tier("notes")
    eaf.add_annotation("notes", 0, 500, "the light flickers")
    eaf.to_file(str(tmp_path / "a.eaf"))
    first, second = read_coding(tmp_path / "a.eaf").events
    assert (first.onset_s, first.apex_s, first.offset_s) == (0.96, 1.2, 1.8)
    assert (first.kind, first.label, first.probability) == ("expression", "happiness", None)
    assert first.action_units == {"AU12": (0.75, 0.0)}
    assert (second.kind, second.label, second.apex_s) == ("micro_expression", "surprise", None)


def test_what_is_changed_in_boris_comes_back(tmp_path):
    event = Event(1.0, 1.2, 1.4, "micro_expression", "positive", 0.8, {"AU12": (0.66, 0.64)})
    boris.write(tmp_path / "a.boris", Coding("a.mp4", fps=25.0, duration_s=3.0, events=(event,)))
    project = json.loads((tmp_path / "a.boris").read_text())
    codes = {each["code"]: each for each in project["behaviors_conf"].values()}
    assert set(codes) == {"micro-expression", "onset to apex", "apex to offset", "AU12"}
    assert "left C" in codes["AU12"]["modifiers"]["0"]["values"]
    (observation,) = project["observations"].values()
    for row in observation["events"]:
        if row[2] == "AU12":
            row[3:5] = ["right E", ""]
    observation["events"] += [
        [2.0, "person 2", "AU4", "B", "", "NA"],
        [2.5, "person 2", "AU4", "B", "", "NA"],
    ]
    (tmp_path / "a.boris").write_text(json.dumps(project))
    first, second = read_coding(tmp_path / "a.boris").events
    assert first.action_units == {"AU12": (0.0, 0.95)}
    assert second == Event(2.0, None, 2.5, "micro_expression", "", None, {"AU4": (0.65, 0.65)}, 2)


@pytest.mark.parametrize("name", ["a.boris", "a.tsv"])
def test_other_behaviours_in_boris_are_left_out(tmp_path, name):
    path = tmp_path / name
    boris.write(path, drawn(1))
    before = read_coding(path)
    if name == "a.boris":
        project = json.loads(path.read_text())
        (observation,) = project["observations"].values()
        observation["events"] += [
            [1.0, "", "note", "", ""],
            *([at, "Ben", "yawning", "", ""] for at in (2, 3)),
        ]
        path.write_text(json.dumps(project))
    else:
        path.write_text(path.read_text() + "1.0\tä b\tBen\tnote\t\tPoint\t\n")
    assert read_coding(path) == before and before.events


def test_openface_rows_have_its_columns_and_give_events(tmp_path):
    rows = []
    for frame in range(50):
        size = max(0.0, 1 - abs(frame - 20) / 10)
        units = {"AU4": (size, size, size), "AU23": None, "AU12": (0.0, 0.0, 0.0)}
        known = dict.fromkeys(openface.VOCABULARY) | units
        rows.append(openface.FrameUnits(frame, frame / 25, None if frame > 45 else known, 2))
    openface.write(tmp_path / "a.csv", rows)
    with open(tmp_path / "a.csv", newline="") as file:
        table = list(csv.DictReader(file))
    head = ["frame", "face_id", "timestamp", "confidence", "success", "AU04_r", "AU12_r", "AU04_c", "AU12_c"]
    assert list(table[0]) == head
    assert table[20]["AU04_r"] == "5.000" and table[20]["frame"] == "21" and table[46]["success"] == "0"
    assert "at rest" in (tmp_path / "a.txt").read_text()
    (event,) = read_coding(tmp_path / "a.csv").events
    assert (event.apex_s, event.person) == (0.8, 2) and set(event.action_units) == {"AU4"}
    assert (event.onset_s, event.offset_s) == (0.6, 1.04)  # until the frame after the last


def test_a_long_video_becomes_a_coding(tmp_path):
    units = {"AU12": (0.9, 0.8)}
    found = Interval(1.0, 1.2, 1.4, 2.0, 0.36, "micro_expression", "positive", {"positive": 0.8}, 0.7, units)
    other = replace(found, onset_s=1.1, person=2)
    gaps = (Gap(5.0, 6.0, "no face was found", 2),)
    blinks = (Blink(2.0, 2.2),)
    video = LongVideo(9.0, (found, other), gaps, blinks, np.zeros(1), np.zeros(1), model="htnet")
    elan.write(tmp_path / "a.eaf", Coding.of(video))
    coding = read_coding(tmp_path / "a.eaf")
    event = Event(1.0, 1.2, 1.4, "micro_expression", "positive", 0.8, units)
    assert coding.events == (event, replace(event, onset_s=1.1, person=2))
    assert coding.blinks == (Span(2.0, 2.2),) and coding.gaps == (Span(5.0, 6.0, "no face was found", 2),)
    boris.write(tmp_path / "a.boris", coding)
    (project,) = json.loads((tmp_path / "a.boris").read_text())["observations"].values()
    assert {event[1] for event in project["events"]} == {"person 1", "person 2"}


def test_letters_are_tenths_of_what_is_present():
    assert [facs.letter_of(each) for each in (0.5, 0.59, 0.6, 0.75, 0.89, 0.9, 1.0)] == list("AABCDEE")
    assert all(facs.letter_of(facs.strength_of(letter)) == letter for letter in facs.LETTERS)
    units, notes = facs.units_of("L12B+R12D+4")
    assert units == {"AU12": (0.65, 0.85), "AU4": (0.75, 0.75)} and not notes
    assert facs.code_of(units) == "L12B+R12D+4C"


def test_a_change_is_kept_with_its_author():
    coding = drawn(1)
    first = coding.events[0]
    moved = coding.changed(0, "Ana", onset_s=0.01, label="happiness").changed(1, "Ana", status="rejected")
    moved = moved.added("Ben", onset_s=28.0, apex_s=28.2, offset_s=28.4, label="surprise")
    assert moved.answers == coding.events and moved.events[0] == replace(
        first, onset_s=0.01, label="happiness", status="corrected", probability=None
    )
    assert moved.events[-1].kind == "micro_expression" and moved.events[-1].status == "added"
    assert moved.events[1].probability == coding.events[1].probability  # its class was not changed
    assert (coding.author, moved.author) == ("htnet", "Ben") and len(moved.kept) == len(coding.events)
    assert [(change["who"], change["event"]) for change in moved.changes][:2] == [("Ana", 0), ("Ana", 1)]
    with pytest.raises(ValueError, match="there is no event 99"):
        coding.changed(99, "Ana", label="x")
    with pytest.raises(ValueError, match="onset <= apex <= offset"):
        coding.changed(0, "Ana", onset_s=99.0)


@pytest.mark.parametrize("suffix", [".json", ".eaf", ".boris", ".tsv", ".csv"])
@pytest.mark.parametrize("damage", range(20))
def test_a_damaged_file_is_refused_in_a_line_or_read_whole(tmp_path, suffix, damage):
    path, rng = tmp_path / f"a{suffix}", np.random.default_rng(damage)
    write = {".eaf": elan.write, ".csv": facs.write, ".json": lambda p, c: c.save(p)}.get(suffix, boris.write)
    write(path, drawn(damage))
    content = bytearray(path.read_bytes())
    kind = damage % 5
    if kind == 0:
        content = content[: int(rng.integers(0, len(content)))]
    elif kind == 1:
        for at in rng.integers(0, len(content), 40):
            content[at] = rng.integers(256)
    elif kind == 2:
        content = bytearray(rng.bytes(500))
    elif kind == 3:
        content = content.replace(b"1", b"-1e999")
    else:
        content = bytearray([b"", b"[]", b"null", b"<a/>"][damage // 5])
    path.write_bytes(content)
    try:
        assert isinstance(read_coding(path), Coding)
    except ValueError as error:
        assert str(error).startswith(f"{path} cannot be read as a coding: ") and "\n" not in str(error)


def test_what_is_no_coding_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is of no known kind; known: \.json"):
        read_coding(tmp_path / "a.docx")
    with pytest.raises(ValueError, match="is not a file"):
        read_coding(tmp_path / "a.eaf")


def at_the_same_time() -> Coding:
    """Three expressions of one face that overlap, and one of another face."""
    events = (
        Event(1.0, 1.2, 1.6, "expression", "positive", 0.8, {"AU12": (0.8, 0.8)}),
        Event(1.0, 1.1, 1.4, "micro_expression", "negative", 0.6, {"AU4": (0.7, 0.7)}),
        Event(1.3, 1.35, 1.9, "expression", "surprise", 0.5, {"AU12": (0.9, 0.0), "AU1": (0.6, 0.6)}),
        Event(1.6, 1.7, 1.8, "micro_expression", "others", 0.4),
        Event(1.1, 1.3, 1.5, "micro_expression", "positive", 0.8, {"AU12": (0.6, 0.6)}, 2),
    )
    return Coding("a.mp4", fps=100.0, duration_s=3.0, events=events)


@pytest.mark.parametrize("name", ["a.eaf", "a.boris", "a.tsv", "a.csv", "a.json"])
def test_expressions_at_the_same_time_keep_their_order_phases_and_units(tmp_path, name):
    coding, path = at_the_same_time(), tmp_path / name
    write = {".eaf": elan.write, ".csv": facs.write, ".json": lambda p, c: c.save(p)}.get(path.suffix)
    (write or boris.write)(path, coding)
    found = read_coding(path).events
    assert [(one.label, one.apex_s, one.offset_s, one.person) for one in found] == [
        (one.label, one.apex_s, one.offset_s, one.person) for one in coding.events
    ]
    assert [facs.code_of(one.action_units) for one in found] == [
        facs.code_of(one.action_units) for one in coding.events
    ]
    assert path.suffix in (".csv", ".tsv") or found == coding.events


def test_no_tier_of_elan_has_annotations_that_overlap(tmp_path):
    elan.write(tmp_path / "a.eaf", at_the_same_time())
    eaf = Eaf(str(tmp_path / "a.eaf"))
    tiers = set(eaf.get_tier_names())
    assert {"expression", "expression #2", "phases #2", "AU4 #2", "AU12 #3", "expression @2"} <= tiers
    for tier in tiers:
        spans = sorted(eaf.get_annotation_data_for_tier(tier))
        assert all(one[1] <= other[0] for one, other in pairwise(spans)), tier
    eaf.add_tier("AU17")  # a coder adds a unit on the first line, where only the second lasts
    eaf.add_annotation("AU17", 1850, 1900, "B")
    eaf.to_file(str(tmp_path / "a.eaf"))
    assert set(read_coding(tmp_path / "a.eaf").events[2].action_units) == {"AU1", "AU12", "AU17"}


def test_a_phase_of_no_length_moves_no_apex(tmp_path):
    events = (Event(1.0, 1.0, 1.4), Event(2.0, 2.4, 2.4), Event(3.0, 3.0, 3.0))
    for name, write in (("a.eaf", elan.write), ("a.boris", boris.write)):
        write(tmp_path / name, Coding("a.mp4", events=events))
        found = read_coding(tmp_path / name).events
        assert [one.apex_s for one in found] == [1.0, 2.4, 3.0]
        assert [one.offset_s for one in found] == [1.4, 2.4, 3.001]


def test_subjects_of_other_names_are_people(tmp_path):
    boris.write(tmp_path / "a.tsv", Coding("a.mp4", events=at_the_same_time().events[3:]))
    text = (tmp_path / "a.tsv").read_text().replace("person 1", "Zoe").replace("person 2", "Ana")
    (tmp_path / "a.tsv").write_text(text)
    assert [(one.label, one.person) for one in read_coding(tmp_path / "a.tsv").events] == [
        ("positive", 1),
        ("others", 2),
    ]


def test_many_events_are_each_read(tmp_path):
    events = tuple(
        Event(i, i + 0.1, i + 0.4, label="positive", action_units={"AU4": (1, 1)}) for i in range(2000)
    )
    elan.write(tmp_path / "a.eaf", Coding("a.mp4", events=events))
    assert read_coding(tmp_path / "a.eaf").events[7].apex_s == 7.1


def test_units_that_the_package_does_not_measure_are_kept(tmp_path):
    write_sheet(tmp_path / "a.csv", "1,,1.4,,positive,22B+L25C+43")
    for name in ("b.eaf", "c.boris", "d.json", "e.csv"):
        coding = read_coding(tmp_path / "a.csv")
        WRITERS[{".csv": "facs", ".json": "coding"}.get(name[1:], name[2:])](tmp_path / name, coding)
        (event,) = read_coding(tmp_path / name).events
        assert set(event.action_units) == {"AU22", "AU25", "AU43"}, name


def write_sheet(path, *rows):
    path.write_text("\n".join(["onset_s,apex_s,offset_s,kind,label,facs", *rows, ",,,,,", ""]))


def test_of_a_unit_coded_twice_the_strongest_counts_on_each_side(tmp_path):
    write_sheet(tmp_path / "a.csv", "1,,1.4,,positive,12E+12A+L4B+R4D")
    (event,) = read_coding(tmp_path / "a.csv").events
    assert event.action_units["AU12"] == (0.95, 0.95) and event.action_units["AU4"] == (0.65, 0.85)
    eaf = Eaf()
    for tier, start, end, value in (
        ("Expression", 1000, 1400, "positive"), ("au12", 1000, 1200, "E"), ("au12", 1200, 1400, "A"),
        ("AU04", 1000, 1200, "left E"), ("AU04", 1200, 1400, "right D"),
    ):  # fmt: skip
        if tier not in eaf.get_tier_names():
            eaf.add_tier(tier)
        eaf.add_annotation(tier, start, end, value)
    eaf.to_file(str(tmp_path / "a.eaf"))
    (event,) = read_coding(tmp_path / "a.eaf").events
    assert event.action_units == {"AU12": (0.95, 0.95), "AU4": (0.95, 0.85)}


def test_times_that_a_coder_changed_decide_the_kind_of_a_sheet(tmp_path):
    rows = (
        "0.2,,1.9,micro_expression,negative,4B",
        "2,,2.54,micro_expression,negative,4B",
        "3,,4,other_motion,,",
    )
    write_sheet(tmp_path / "a.csv", *rows)
    kinds = [event.kind for event in read_coding(tmp_path / "a.csv").events]
    assert kinds == ["expression", "micro_expression", "other_motion"]


def test_a_table_of_two_observations_is_refused(tmp_path):
    boris.write(tmp_path / "a.tsv", drawn(1))
    head, *rows = (tmp_path / "a.tsv").read_text().splitlines()
    rows[-1] = rows[-1].replace("\tä b\t", "\tother\t")
    (tmp_path / "a.tsv").write_text("\n".join([head, *rows]))
    with pytest.raises(ValueError, match="it has 2 observations; expected one"):
        read_coding(tmp_path / "a.tsv")


def test_a_stream_is_linked_by_its_address(tmp_path):
    elan.write(tmp_path / "a.eaf", Coding("http://127.0.0.1:80/a.mp4", events=drawn(1).events))
    assert read_coding(tmp_path / "a.eaf").video == "http://127.0.0.1:80/a.mp4"
