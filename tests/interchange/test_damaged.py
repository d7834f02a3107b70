"""Files that break off, say what cannot be, or come from elsewhere: one line each, and nothing is written."""

import json
import os
import re

import pytest

from mer_hf.cli import main
from mer_hf.face.action_units import VOCABULARY
from mer_hf.interchange import boris, elan, facs, openface
from mer_hf.interchange.coding import Coding, Event, Span

EVENTS = (
    Event(1.0, 1.2, 1.4, "micro_expression", "positive", 0.8, {"AU12": (0.66, 0.64)}),
    Event(2.0, 2.1, 2.2, "", "negative", 0.5, {"AU4": (0.8, 0.8)}),
)
CODING = Coding("a.mp4", fps=25.0, duration_s=3.0, events=EVENTS, blinks=(Span(0.1, 0.3),))


def write_frames(path, _):
    rest = dict.fromkeys(VOCABULARY) | {"AU4": (0.0,) * 3, "AU12": (0.0,) * 3}
    rows = [(i, i / 25, rest | {"AU4": (0.8 if 10 < i < 20 else 0.0,) * 3}) for i in range(30)]
    openface.write(path, [openface.FrameUnits(*row) for row in rows])
    path.with_suffix(".txt").unlink()


WRITE = {
    "session.json": lambda path, coding: coding.save(path),
    "elan.eaf": elan.write,
    "project.boris": boris.write,
    "observer.tsv": boris.write,
    "sheet.csv": facs.write,
    "openface.csv": write_frames,
}

EVERY = {
    "cut in the middle": (lambda b: b[: len(b) // 2 - 5], ""),
    "UTF-16": (lambda b: b.decode().encode("utf-16"), "not UTF-8 text"),
    "Latin-1": (lambda b: b"\xe4" + b, "not UTF-8 text"),
    "empty": (lambda b: b"", "empty"),
    "blank": (lambda b: b"\n \n\n", ""),
    "a picture": (lambda b: b"\x89PNG\r\n\x1a\n" + bytes(90), ""),
    "a page": (lambda b: b"<!doctype html><html><body>Not found</body></html>", ""),
    "words": (lambda b: b"the light flickers\n" * 9, ""),
    "a list": (lambda b: b"[]", ""),
    "deep": (lambda b: b'{"a":' * 100_000, ""),
}
"""Damage to a file of any kind -> what the line says."""


def swap(old, new, words, every=False):
    """Replace text that is in the file, once or everywhere."""

    def edit(content):
        assert old.encode() in content, old
        return content.replace(old.encode(), new.encode(), -1 if every else 1)

    return edit, words


def changed(change, words):
    """Change what a JSON file holds."""

    def edit(content):
        value = json.loads(content)
        observation = next(iter(value.get("observations", {"": None}).values()))
        change(value, observation or value["events"][0])
        return json.dumps(value).encode()

    return edit, words


def entity(definition, use, words):
    """Define an entity of XML, and use it as a class."""
    doctype = f"<!DOCTYPE l [{definition}]><ANNOTATION_D".encode()
    return (lambda b: b.replace(b"<ANNOTATION_D", doctype).replace(b"positive", use.encode())), words


ORDER = "expected 0 <= onset <= apex <= offset"
BOMB = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 20}">' for i in range(9))

SPECIAL = {
    "session.json": {
        "another format": changed(lambda v, e: v.update(format="x"), "expected an object with format"),
        "an unknown key": changed(lambda v, e: e.update(mood=1), "mood"),
        "no events": changed(lambda v, e: v.update(events=None), "events must be list"),
        "events of text": changed(lambda v, e: v.update(events="abc"), "events must be list"),
        "an onset of text": changed(lambda v, e: e.update(onset_s="1"), "onset_s must be float"),
        "no onset": changed(lambda v, e: e.update(onset_s=None), "onset_s must be float"),
        "an onset after the offset": changed(lambda v, e: e.update(onset_s=9), ORDER),
        "a negative onset": changed(lambda v, e: e.update(onset_s=-1), ORDER),
        "milliseconds": changed(lambda v, e: e.update(offset_s=200_000), ORDER),
        "a number without end": changed(lambda v, e: e.update(offset_s=10**400), "not a finite number"),
        "not a number": swap("1.2", "NaN", "NaN is not a finite number"),
        "beyond the video": changed(lambda v, e: e.update(offset_s=9), "9.00 s of a video of 3.00 s"),
        "a label that is a number": changed(lambda v, e: e.update(label=5), "label must be str"),
        "a probability of 7": changed(lambda v, e: e.update(probability=7), "probability must be"),
        "an unknown unit": changed(lambda v, e: e.update(action_units={"AU99": [1, 1]}), "AU99"),
        "three sides": changed(lambda v, e: e.update(action_units={"AU4": [1, 1, 1]}), "action_units"),
        "person 0": changed(lambda v, e: e.update(person=0), "counted from 1"),
        "half a person": changed(lambda v, e: e.update(person=1.5), "person must be int"),
        "an unknown kind": changed(lambda v, e: e.update(kind="x"), "kind must be one of"),
        "an unknown status": changed(lambda v, e: e.update(status="x"), "status must be one of"),
        "a rate of text": changed(lambda v, e: v.update(fps="x"), "fps must be"),
        "a negative rate": changed(lambda v, e: v.update(fps=-25), "fps must be"),
        "a duration of text": changed(lambda v, e: v.update(duration_s="x"), "duration_s must be"),
        "changes by nobody": changed(lambda v, e: v.update(changes=[{"who": 1}]), "who must be str"),
        "a blink that ends before": changed(lambda v, e: v["blinks"][0].update(start_s=5), "start <= end"),
        "a reason that is a number": changed(lambda v, e: v["blinks"][0].update(what=7), "what must be str"),
    },
    "elan.eaf": {
        "another root": swap("ANNOTATION_DOCUMENT", "DOCUMENT", "it begins with DOCUMENT", every=True),
        "a zero byte": swap("<TIER", "\0<TIER", "not an ELAN file"),
        "no times": swap("TIME_SLOT_ID", "SLOT", "not an ELAN file"),
        "a time of text": swap('TIME_VALUE="1000"', 'TIME_VALUE="soon"', "'soon'"),
        "an offset before the onset": swap('TIME_VALUE="1400"', 'TIME_VALUE="900"', "ends at 0.9 s"),
        "negative times": swap('TIME_VALUE="1', 'TIME_VALUE="-1', "", every=True),
        "beyond the video": swap('TIME_VALUE="2200"', 'TIME_VALUE="9200"', "of a video of 3.00 s"),
        "ages": swap('TIME_VALUE="2200"', f'TIME_VALUE="{10**30}"', ORDER),
        "an unknown unit": swap('TIER_ID="AU12"', 'TIER_ID="AU99"', "AU99"),
        "a strength in words": swap("B (0.66, 0.64)", "very strong", "expected such as B or left B"),
        "a strength of two points": swap("B (0.66, 0.64)", "B (0.6.6, 1)", "AU12 has the strength"),
        "a probability above 1": swap("positive (0.80)", "positive (1.80)", "probability must be"),
        "a rate of text": swap(">25.0<", ">fast<", "fps must be a number"),
        "a rate without end": swap(">25.0<", ">inf<", "fps must be a number"),
        "another encoding": swap("UTF-8", "klingon", "unknown encoding"),
        "a bomb": entity(f'<!ENTITY a "lol">{BOMB}', "&j;", "amplification"),
        "a recursion": entity('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;", "recursive"),
        "another file": entity('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;", "undefined entity"),
        "other tiers": swap('TIER_ID="', 'TIER_ID="my ', "none of its tiers (my expression,", every=True),
    },
    "project.boris": {
        "no observation": changed(lambda v, o: v.update(observations={}), "has 0 observations; expected one"),
        "two observations": changed(lambda v, o: v["observations"].update(b=o), "has 2 observations"),
        "observations in a list": changed(lambda v, o: v.update(observations=[]), "observations must be"),
        "no events": changed(lambda v, o: o.pop("events"), "events must be"),
        "events of text": changed(lambda v, o: o.update(events="abc"), "events must be"),
        "a short event": changed(lambda v, o: o.update(events=[[1.0]]), "event 1 is not seconds and four"),
        "an event of nothing": changed(lambda v, o: o.update(events=[[None] * 5]), "event 1 is not seconds"),
        "a file that is a number": changed(lambda v, o: o.update(file={"1": [7]}), "file must be"),
        "a rate of text": changed(lambda v, o: o["media_info"].update(fps={"a.mp4": "fast"}), "fps must be"),
        "a negative rate": changed(lambda v, o: o["media_info"].update(fps={"a.mp4": -25}), "fps must be"),
        "a length of text": changed(lambda v, o: o["media_info"].update(length={"a.mp4": "x"}), "length"),
        "other behaviours": changed(
            lambda v, o: [e.__setitem__(2, "yawning") for e in o["events"]], "behaviours, 'yawning', is"
        ),
        "an event that does not stop": changed(lambda v, o: o["events"].pop(), "does not stop"),
        "a negative time": changed(lambda v, o: o["events"][0].__setitem__(0, -3.0), "expected 0 <="),
        "a number without end": changed(lambda v, o: o["events"][0].__setitem__(0, 10**400), "finite"),
        "beyond the video": changed(lambda v, o: [e.__setitem__(0, e[0] + 99) for e in o["events"]], "of a"),
    },
    "observer.tsv": {
        "a missing column": swap("Subject", "Person", "lacks the column Subject"),
        "two columns of one name": swap("Observation", "Subject", "two columns of one name"),
        "a start without stop": swap("State stop", "State start", "does not follow its opposite"),
        "a stop without start": swap("State start", "State stop", "does not follow its opposite"),
        "other behaviours": swap("\tperson 1\t", "\tperson 1\tmy ", "'my AU12, my AU4, ", every=True),
        "a clock": swap("1.4\t", "00:01.4\t", "must be a number", every=True),
        "not a number": swap("1.4\t", "nan\t", "must be a number", every=True),
        "infinite": swap("1.4\t", "1e999\t", "must be a number", every=True),
        "negative": swap("1\ta", "-1\ta", "", every=True),
        "ages": swap("2.2\t", "1e300\t", ORDER, every=True),
        "an unknown unit": swap("AU12", "AU99", "AU99", every=True),
        "a strength in words": swap("\tB\t", "\tstrong\t", "expected such as B", every=True),
        "person 0": swap("person 1", "person 0", "counted from 1", every=True),
        "a short row": swap("\tState stop", "", "cells where the header has"),
        "a long row": swap("State stop", "State\tstop", "cells where the header has"),
        "a quotation mark": swap("\tpositive", '\t"positive', ""),
        "a cell of a megabyte": swap("positive", "x" * 1_000_000, "not valid CSV"),
    },
    "sheet.csv": {
        "a missing column": swap("facs", "code", "lacks the column facs"),
        "two columns of one name": swap("label", "kind", "two columns of one name"),
        "bars between columns": swap(",", "|", "lacks the column", every=True),
        "an onset after the offset": swap("1,1.2,1.4", "3,,1.4", f"line 2: {ORDER}"),
        "an apex after the offset": swap("1,1.2,1.4", "1,2,1.4", ORDER),
        "a negative onset": swap("1,1.2,1.4", "-1,,1.4", ORDER),
        "no onset": swap("1,1.2,1.4", ",,1.4", "line 2: onset_s must be a number, got ''"),
        "not a number": swap("1,1.2,1.4", "nan,,1.4", "onset_s must be a number"),
        "a clock": swap("1,1.2,1.4", "00:01,,1.4", "onset_s must be a number"),
        "milliseconds": swap("2,2.1,2.2", "2,2.1,220000", f"line 3: {ORDER}"),
        "a person by name": swap(",1,1,", ",Ana,1,", "person must be a number"),
        "person 0": swap(",1,1,", ",0,1,", "counted from 1"),
        "an unknown kind": swap("micro_expression", "smile", "kind must be one of"),
        "a probability in words": swap("0.8", "high", "probability must be a number"),
        "a probability of 7": swap("0.8", "7", "probability must be from 0 to 1"),
        "a word as code": swap("12B", "happy", "expected codes such as 4B+L12C"),
        "an unknown letter": swap("12B", "12F", "expected codes such as 4B+L12C"),
        "an unknown unit": swap("12B", "99B", "99"),
        "two videos": swap("a.mp4", "b.mp4", "it is of 2 videos"),
        "a short row": swap(",12B", "", "cells where the header has"),
        "a cell of a megabyte": swap("positive", "x" * 1_000_000, "not valid CSV"),
    },
    "openface.csv": {
        "no rows": (lambda b: b.splitlines()[0], "no row"),
        "no units": swap("AU", "BU", "no columns AU.._r and AU.._c", every=True),
        "presence alone": swap("_r", "_x", "no columns AU.._r and AU.._c", every=True),
        "unknown units": swap("AU", "AU9", "no columns AU.._r and AU.._c", every=True),
        "two columns of one name": swap("AU12_r", "AU04_r", "two columns of one name"),
        "bars between columns": swap(",", "|", "lacks the column", every=True),
        "a time of text": swap("0.480000", "soon", "line 14: timestamp must be a number"),
        "no time": swap("0.480000", "", "line 14: timestamp must be a number"),
        "a time without end": swap("0.480000", "1e999", "timestamp must be a number"),
        "ages": swap("0.760000", "1e300", ORDER),
        "negative times": swap("0.440000", "-1", ORDER),
        "a strength of text": swap("4.000", "strong", "AU04_r must be a number"),
        "no strength": swap("4.000", "", "AU04_r must be a number"),
        "not a number": swap("4.000", "nan", "AU04_r must be a number"),
        "a presence of text": swap("0.0,0.0\n", "yes,0.0\n", "AU04_c must be a number"),
        "a face by name": swap("\n1,0,", "\n1,Ana,", "face_id must be a number"),
        "a face of nothing": swap("\n1,0,", "\n1,nan,", "face_id must be a number"),
        "a negative face": swap("\n13,0,", "\n13,-4,", "counted from 1"),
        "a short row": swap(",0.0\n", "\n", "cells where the header has"),
        "a long row": swap(",0.0\n", ",0.0,1\n", "cells where the header has"),
        "a cell of a megabyte": swap("4.000", "4" * 1_000_000, "not valid CSV"),
    },
}  # fmt: skip


def refused(path, tmp_path, capfd) -> str:
    before = sorted(tmp_path.iterdir())
    for out in ("out.eaf", "out.json"):
        assert main(["convert-coding", str(path), str(tmp_path / out)]) == 2
        output, errors = capfd.readouterr()
        assert output == "" and errors.startswith("mer-hf: error: ") and errors.count("\n") == 1
        assert "Traceback" not in errors and len(errors) < 500 and sorted(tmp_path.iterdir()) == before
    return errors


@pytest.mark.parametrize(
    ("name", "damage"), [(name, damage) for name in WRITE for damage in (*EVERY, *SPECIAL[name])]
)
def test_a_damaged_file_is_refused_in_one_line_and_nothing_is_written(name, damage, tmp_path, capfd):
    path = tmp_path / name
    WRITE[name](path, CODING)
    edit, words = EVERY.get(damage) or SPECIAL[name][damage]
    path.write_bytes(edit(path.read_bytes()))
    assert words in refused(path, tmp_path, capfd)


def test_every_format_has_twenty():
    assert min(len(EVERY) + len(special) for special in SPECIAL.values()) >= 20


@pytest.mark.parametrize("name", WRITE)
def test_marks_of_order_and_ends_of_lines_change_nothing(name, tmp_path, capfd):
    path = tmp_path / name
    WRITE[name](path, CODING)
    content = path.read_bytes()
    for number, same in enumerate([b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n")]):
        path.write_bytes(same)
        assert main(["convert-coding", str(path), str(tmp_path / f"{number}.json")]) == 0
        assert ("2 events" if name != "openface.csv" else "1 event") in capfd.readouterr().out


@pytest.mark.parametrize("name", ["sheet.csv", "observer.tsv", "openface.csv"])
def test_semicolons_with_commas_in_numbers_are_read(name, tmp_path, capfd):
    path = tmp_path / name
    WRITE[name](path, CODING)
    text = re.sub(r"\(.*?\)", "", path.read_text()).replace("a.mp4", "a")
    text = text.replace("\t", ";").replace(",", ";")
    path.write_text(text.replace(".", ","))
    assert main(["convert-coding", str(path), str(tmp_path / "out.json")]) == 0
    onset_s = json.loads((tmp_path / "out.json").read_text())["events"][0]["onset_s"]
    assert onset_s == pytest.approx(0.44 if name == "openface.csv" else 1.0)


@pytest.mark.parametrize("suffix", [".json", ".eaf", ".boris", ".tsv", ".csv"])
def test_what_is_not_a_readable_file_is_refused(suffix, tmp_path, capfd):
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"locked{suffix}").write_text("x")
    (tmp_path / f"locked{suffix}").chmod(0)
    for name in ("folder", "loop", "pipe", "nothing", "a" * 300):
        assert "is not a file" in (errors := refused(tmp_path / f"{name}{suffix}", tmp_path, capfd)) or (
            "too long" in errors
        )
    refused(tmp_path / f"locked{suffix}", tmp_path, capfd)


def test_names_that_xml_cannot_hold_are_written_with_a_question_mark(tmp_path, capfd):
    events = (Event(1.0, 1.2, 1.4, label="a\x01b"),)
    Coding("a\0b.mp4", coder="\x02", events=events).save(tmp_path / "a.json")
    assert main(["convert-coding", str(tmp_path / "a.json"), str(tmp_path / "a.eaf")]) == 0
    assert elan.read(tmp_path / "a.eaf").events[0].label == "a?b"


def test_prepare_refuses_an_event_after_the_end_of_its_video(example_file, tmp_path, capfd):
    facs.write(tmp_path / "a.csv", Coding(str(example_file("positive")), events=(Event(7.0, 7.1, 7.2),)))
    assert main(["prepare", "table", "--csv", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out")]) == 2
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and "has an event at 7.20 s" in errors and not (tmp_path / "out").exists()
