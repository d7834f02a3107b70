import os
import sys

import pytest

from mer_hf.face.tracking import FaceGeometry
from mer_hf.inference import ahead
from mer_hf.inference.pipeline import MicroExpressionPipeline

OF_HTNET = FaceGeometry(eye_row=0.3)


@pytest.fixture
def cold(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")


def begun(path, model="htnet", fps=None, face=None):
    return ahead.tracked_ahead(path, model, fps, face)


def dies(*_):
    os._exit(9)


@pytest.mark.parametrize("known", [{}, {"onset": 20}])
def test_a_face_that_was_tracked_ahead_gives_the_same_answer(example_file, monkeypatch, known):
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        tracked = begun(example_file("positive"))
    pipeline = MicroExpressionPipeline.from_pretrained("htnet")
    early = tracked(pipeline.geometry)
    assert early.clip.frames.shape[1:] == (1, 1, 3)
    answer, track = pipeline.with_track(early, **known)
    expected, expected_track = pipeline.with_track(example_file("positive"), **known)
    assert (track.frames == expected_track.frames).all()
    assert answer.to_dict() | {"timings_s": {}} == expected.to_dict() | {"timings_s": {}}
    assert answer.timings_s.keys() == expected.timings_s.keys() and answer.timings_s["track"] > 0.05


def test_a_face_is_tracked_here_where_a_process_gains_nothing_or_cannot_know(example_file, tmp_path, cold):
    clip = example_file("positive")
    assert begun(clip, "mmnet")(OF_HTNET) is None
    assert begun(clip, "someone/htnet")(OF_HTNET) is None
    assert begun(tmp_path / "missing.mp4")(OF_HTNET) is None
    assert begun(clip, face=2)(OF_HTNET) is None
    sys.modules["torch"] = None
    assert begun(clip)(OF_HTNET) is None


def test_a_process_that_is_killed_leaves_the_work_to_this_one(example_file, monkeypatch, cold):
    monkeypatch.setattr(ahead, "_send", dies)
    assert begun(example_file("positive"))(OF_HTNET) is None
