"""What is corrected on the page: kept for its clip, written for each program, and loaded again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import coding
from page.engine import Refusal

from mer_hf.interchange.coding import Coding, Event, Span
from mer_hf.interchange.formats import SUFFIXES, read_coding

SMILE = Event(0.5, 0.7, 0.9, "micro_expression", "positive", 0.8, {"AU12": (0.9, 0.9)})
ANSWER = Coding("a.mp4", "ab" * 32, 30.0, 2.0, "", "htnet", (SMILE,), answers=(SMILE,))
CORRECTED = ANSWER.changed(0, "Ana", label="negative", onset_s=0.6)


@pytest.fixture(autouse=True)
def folder(visitors_folder):
    """The folder of results."""
    return visitors_folder


def editor_holds(value, before):
    """What the editor holds after a function returned `value`."""
    return Coding.from_dict(json.loads(before if isinstance(value, dict) else value))


@pytest.mark.parametrize(
    ("before", "answer", "expected"),
    [
        (None, ANSWER, ANSWER),
        (ANSWER, replace(ANSWER, coder="hsta"), replace(ANSWER, coder="hsta")),  # nothing was corrected
        (CORRECTED, replace(ANSWER, coder="hsta"), CORRECTED),
        (CORRECTED, replace(ANSWER, sha256="cd" * 32), replace(ANSWER, sha256="cd" * 32)),
        (replace(CORRECTED, changes=()), ANSWER, replace(CORRECTED, changes=())),  # loaded without a history
    ],
)
def test_corrections_stay_as_long_as_the_clip_is_the_same(before, answer, expected):
    value = before and coding.as_text(before)
    assert editor_holds(coding.begin(value, answer), value) == expected


def test_another_face_of_the_clip_is_put_behind_the_corrections():
    second = replace(SMILE, person=2)
    answer = replace(ANSWER, events=(second,), answers=(second,), blinks=(Span(1.0, 1.1, "", 2),))
    value = coding.begin(coding.as_text(CORRECTED), answer)
    both = editor_holds(value, None)
    assert both.events == (*CORRECTED.events, second) and both.changes == CORRECTED.changes
    assert editor_holds(coding.begin(value, answer), value) == both  # and only once


def test_a_refused_network_leaves_the_corrections_and_a_refused_clip_does_not(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"a clip")
    value = coding.as_text(replace(CORRECTED, sha256=coding.sha256_of(tmp_path / "a.mp4")))
    assert coding.unanswered(str(tmp_path / "a.mp4"), value) is not None
    (tmp_path / "a.mp4").write_bytes(b"another")
    assert coding.unanswered(str(tmp_path / "a.mp4"), value) is None
    assert coding.unanswered(None, value) is None


@pytest.mark.parametrize("name", coding.LABELS)
def test_what_is_saved_is_read_again_and_names_no_folder(folder, name):
    path = Path(coding.save(name, coding.as_text(replace(CORRECTED, video="../../etc/a.mp4"))))
    assert path.name == f"a{SUFFIXES[name]}" and path.is_relative_to(folder)
    text = path.read_text()
    assert str(folder) not in text and str(Path.cwd()) not in text and "etc" not in text
    (event,) = read_coding(path).events
    assert (event.label, event.onset_s, event.probability) == ("negative", 0.6, None)
    loaded = editor_holds(coding.load(str(path), coding.as_text(ANSWER)), None)
    assert (loaded.sha256, loaded.video, loaded.answers) == (ANSWER.sha256, "a.mp4", (SMILE,))
    assert loaded.events[0].onset_s == 0.6 and bool(loaded.changes) == (name == "coding")


@pytest.mark.parametrize(
    ("name", "change", "held", "reason"),
    [
        ("coding", {"sha256": "cd" * 32, "video": "b.mp4"}, ANSWER, "is of another video (b.mp4)"),
        ("eaf", {"sha256": "cd" * 32, "video": "b.mp4"}, ANSWER, "is of another video (b.mp4)"),
        ("facs", {}, replace(ANSWER, duration_s=0.5), "a.csv has an event at 0.90 s"),
        ("boris", {}, None, "There is no coding yet"),
    ],
)
def test_a_coding_of_another_clip_is_refused(tmp_path, name, change, held, reason):
    path = tmp_path / f"a{SUFFIXES[name]}"
    coding.WRITERS[name](path, replace(CORRECTED, **change))
    with pytest.raises(Refusal) as caught:
        coding.load(str(path), held and coding.as_text(held))
    assert reason in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "{", "[]", "5", "{}", "[" * 100_000),
        json.dumps(ANSWER.to_dict() | {"video": 5}),
        json.dumps(ANSWER.to_dict() | {"changes": [{}]}),
        json.dumps(ANSWER.to_dict() | {"events": [{"onset_s": 2, "apex_s": 1, "offset_s": 0}]}),
        json.dumps(ANSWER.to_dict() | {"video": "a" * 500}),
        json.dumps(ANSWER.to_dict() | {"video": "a\0.mp4"}),
    ],
)
def test_what_is_no_coding_is_refused_in_one_line(value):
    with pytest.raises(Refusal) as caught:
        coding.save("eaf", value)
    assert "\n" not in str(caught.value) and "unforeseen" not in str(caught.value)
