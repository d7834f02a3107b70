import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf import loading
from mer_hf.face.action_units import PRESENT, VOCABULARY
from mer_hf.inference.calibration import softmax
from mer_hf.inference.pipeline import SLOW_MOTION, MicroExpressionPipeline, frame_index
from mer_hf.registry import ARCHITECTURES
from mer_hf.video.clip import read_clip
from mer_hf.video.container import ClipError
from tests.models.tiny import tiny_model, tiny_processor

FIELDS = {
    "outcome",
    "label",
    "scores",
    "expression_probability",
    "phases",
    "action_units",
    "action_units_source",
    "reason",
    "duration_s",
    "size_px",
    "face",
    "faces",
    "warnings",
    "model",
    "timings_s",
}


class Never:
    """A calibration for which nothing is an expression."""

    threshold, least_motion_px = 0.5, 0.5

    def expression_probability(self, features):
        return 0.0

    def probabilities(self, logits):
        return softmax(logits)


@pytest.fixture(scope="module")
def pipeline(checkpoint):
    return MicroExpressionPipeline.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def smile(example):
    return example("positive")


@pytest.fixture(scope="module")
def prediction(pipeline, smile):
    return pipeline(smile.clip)


def test_an_expression_is_found_where_it_was_rendered(prediction, smile):
    assert prediction.outcome == "micro_expression"
    phases = prediction.phases
    assert 0 <= phases.onset < phases.apex < phases.offset < len(smile.clip.frames)
    assert abs(phases.apex - smile.apex) <= 4
    assert smile.onset - 5 <= phases.onset < smile.apex < phases.offset <= smile.offset + 8


def test_scores_are_probabilities_and_the_label_is_the_highest(prediction, pipeline):
    assert list(prediction.scores) == list(pipeline.model.config.id2label.values())
    assert sum(prediction.scores.values()) == pytest.approx(1.0, abs=1e-9)
    assert prediction.scores[prediction.label] == max(prediction.scores.values())


def test_relevance_lies_on_the_face(prediction, pipeline):
    size = pipeline.geometry.size
    assert prediction.relevance.shape == (size, size)
    assert prediction.relevance.dtype == np.float32
    assert prediction.relevance.min() >= 0.0
    assert prediction.relevance.max() == pytest.approx(1.0, abs=0.05)
    assert prediction.onset_face.shape == prediction.apex_face.shape == (size, size, 3)


def test_json_has_every_field_and_no_array(prediction, smile):
    answer = json.loads(prediction.to_json())
    assert set(answer) == FIELDS
    assert answer["phases"]["apex"] == prediction.phases.apex
    assert answer["phases"]["apex_s"] == pytest.approx(smile.clip.timestamps_s[prediction.phases.apex])
    stages = {"read", "track", "spot", "action_units", "classify", "relevance"}
    assert set(answer["timings_s"]) == stages
    arrays = {"curve", "timestamps_s", "relevance", "relevance_frames", "onset_face", "apex_face"}
    assert set(prediction.arrays()) == arrays
    assert prediction.relevance_frames == (prediction.phases.apex,)


def test_a_smile_pulls_the_lip_corners(prediction):
    answer = json.loads(prediction.to_json())
    assert tuple(answer["action_units"]) == VOCABULARY and answer["action_units_source"] == "estimated"
    left, right, intensity = answer["action_units"]["AU12"]
    assert min(left, right) > 0.5 and intensity == max(left, right)
    present = {name for name, found in answer["action_units"].items() if found and found[2] >= PRESENT}
    assert "AU12" in present and not present & {"AU1", "AU2", "AU4", "AU15"}


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_every_architecture_answers_a_clip(key, tracked, tmp_path):
    tiny_model(key).save_pretrained(tmp_path)
    tiny_processor(key).save_pretrained(tmp_path)
    pipeline = MicroExpressionPipeline.from_pretrained(tmp_path)
    prediction = pipeline.classify(*tracked("positive", pipeline.geometry))
    assert prediction.label in pipeline.model.config.id2label.values()
    assert prediction.action_units["AU12"][2] > 0.5
    size = pipeline.geometry.size
    maps = prediction.relevance.reshape(-1, size, size)
    assert len(maps) == len(prediction.relevance_frames)
    assert prediction.relevance_frames[-1] == prediction.phases.apex
    np.testing.assert_array_equal(prediction.apex_relevance, maps[-1])


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_half_of_the_digits_give_the_same_answer(key, tracked):
    whole, half = (
        MicroExpressionPipeline.from_pretrained(key, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    expected, found = (each.classify(*tracked("positive", each.geometry)) for each in (whole, half))
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert found.label == expected.label == "positive"
    assert all(abs(found.scores[name] - expected.scores[name]) < 0.01 for name in expected.scores)


def test_action_units_reach_the_network_that_takes_them(smile, tracked):
    torch.manual_seed(3)
    model, processor = tiny_model("facesleuth"), tiny_processor("facesleuth")
    torch.nn.init.normal_(model.facesleuth.head.fc2.weight)
    pipeline = MicroExpressionPipeline(model, processor, "tiny")
    track, phases = tracked("positive", pipeline.geometry)
    answers = {
        name: pipeline.classify(track, phases, action_units=units)
        for name, units in {
            "estimated": "estimated",
            "none": None,
            "smile": ["AU12"],
            "brows": ["AU1", "AU2"],
        }.items()
    }
    assert len({tuple(answer.scores.values()) for answer in answers.values()}) >= 3
    assert answers["none"].scores == pipeline.classify(track, phases, action_units=[]).scores
    assert answers["none"].action_units == answers["estimated"].action_units
    sources = [answers[name].action_units_source for name in ("estimated", "none", "smile")]
    assert sources == ["estimated", "hidden", "annotated"]
    assert answers["smile"].action_units["AU12"] == (1, 1, 1)
    with pytest.raises(ValueError, match="AU99"):
        pipeline(smile.clip, action_units=["AU99"])


def test_an_unknown_time_is_null(prediction):
    timeless = replace(prediction, timestamps_s=np.full(len(prediction.timestamps_s), np.nan))
    assert json.loads(timeless.to_json())["phases"]["apex_s"] is None


def test_stages_one_by_one_give_the_same_answer(pipeline, smile, prediction, tracked):
    track, phases = tracked("positive", pipeline.geometry)
    again = pipeline.classify(track, phases, smile.clip.timestamps_s)
    assert again.scores == prediction.scores
    assert np.array_equal(again.relevance, prediction.relevance)


def test_landmarks_place_the_regions_of_map_and_overlay(pipeline, tracked):
    track, phases = tracked("positive", pipeline.geometry)
    moved = replace(track, landmarks_xy=track.landmarks_xy + 24.0)
    here, there = (pipeline.classify(each, phases) for each in (track, moved))
    assert here.scores != there.scores
    assert not np.array_equal(here.relevance, there.relevance)


def test_warnings_of_every_stage_arrive(pipeline, tracked):
    track, _ = tracked("positive", pipeline.geometry)
    prediction = pipeline.classify(replace(track, warnings=("two faces",)), pipeline.spot(track))
    assert "two faces" in prediction.warnings
    assert any("frame rate is unknown" in warning for warning in prediction.warnings)


def test_the_same_clip_as_array_file_or_clip(pipeline, smile, prediction, example_file, tracked, monkeypatch):
    from_file = pipeline(str(example_file("positive")))
    assert from_file.outcome == "micro_expression"
    assert abs(from_file.phases.apex - prediction.phases.apex) <= 2  # compression moves it a little

    def track(clip, face):
        np.testing.assert_array_equal(clip.frames, smile.clip.frames)
        return tracked("positive", pipeline.geometry)[0]

    monkeypatch.setattr(pipeline, "track", track)
    assert pipeline(smile.clip.frames, fps=30).scores == prediction.scores


@pytest.mark.parametrize("outcome", ["no_motion", "blink"])
def test_nothing_to_classify_gives_equal_scores_and_says_so(pipeline, tracked, outcome):
    track, phases = tracked("positive", pipeline.geometry)
    nothing = dict.fromkeys(("onset", "apex", "offset"))
    prediction = pipeline.classify(track, replace(phases, **nothing, outcome=outcome, candidates=()))
    assert prediction.outcome == outcome
    assert prediction.label is None
    assert set(prediction.scores.values()) == {1 / 3}
    assert not prediction.relevance.any()
    assert any("nothing was classified" in warning for warning in prediction.warnings)
    answer = json.loads(prediction.to_json())
    assert answer["label"] is None
    moving = {name for name, found in answer["action_units"].items() if found and found[2] > 0}
    assert moving == ({"AU45"} if outcome == "blink" else set())


@pytest.mark.parametrize(("blink", "outcome"), [((10, 14), "blink"), ((0, 3), "other_motion")])
def test_a_weak_movement_beside_a_blink_is_part_of_it(pipeline, tracked, monkeypatch, blink, outcome):
    track, phases = tracked("positive", pipeline.geometry)
    monkeypatch.setattr(pipeline, "calibration", Never())
    weak = replace(phases, onset=20, apex=24, offset=28, blinks=(blink,), regions_xy=phases.regions_xy / 100)
    prediction = pipeline.classify(track, weak, np.arange(len(track.frames)) / 30)
    assert prediction.outcome == outcome and prediction.label is None
    assert (prediction.phases.apex is None) == (outcome == "blink")


@pytest.mark.parametrize(("fps", "hinted"), [(6, True), (30, False), (None, False)])
def test_a_long_clip_without_motion_may_be_slow_motion(pipeline, tracked, fps, hinted):
    track, phases = tracked("positive", pipeline.geometry)  # 60 frames
    nothing = replace(phases, onset=None, apex=None, offset=None, outcome="no_motion", candidates=())
    times_s = None if fps is None else np.arange(len(track.frames)) / fps
    assert (SLOW_MOTION in pipeline.classify(track, nothing, times_s).warnings) == hinted


def test_known_frames_are_kept(pipeline, smile, tracked, monkeypatch):
    monkeypatch.setattr(pipeline, "track", lambda clip, face: tracked("positive", pipeline.geometry)[0])
    prediction = pipeline(smile.clip, onset=5, apex=20, offset=40)
    assert (prediction.phases.onset, prediction.phases.apex, prediction.phases.offset) == (5, 20, 40)
    assert prediction.phases.source == "given"
    assert prediction.outcome == "expression" and prediction.label and prediction.duration_s > 1
    assert "lasts 1.1 s: longer than a micro-expression" in prediction.warnings
    assert prediction.label in prediction.scores


@pytest.fixture
def numbered(tmp_path):
    for number in (9, 10, 11):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"img{number}.png")
    return read_clip(tmp_path)


@pytest.mark.parametrize(
    "value, index",
    [
        (None, None),
        (0, 0),
        ("2", 2),  # digits are an index
        ("img9.png", 0),  # first in numerical order
        ("img10.png", 1),
        ("img11", 2),  # the ending may be left out
    ],
)
def test_a_frame_is_given_by_index_or_by_name(numbered, value, index):
    assert frame_index(numbered, value, "onset") == index


@pytest.mark.parametrize(
    "value, message",
    [
        (3, "onset 3 is outside the clip, which has frames 0 to 2"),
        ("-1", "onset -1 is outside the clip"),
        ("img12.png", "'img12.png' is not a frame of the clip: its frames are img9.png to img11.png"),
        ("9.5", "is not a frame of the clip"),
    ],
)
def test_a_frame_that_is_not_there_is_refused(numbered, value, message):
    with pytest.raises(ClipError, match=message):
        frame_index(numbered, value, "onset")


def test_a_name_for_a_clip_without_names_is_refused(smile):
    with pytest.raises(ClipError, match="has no frame names"):
        frame_index(smile.clip, "img1.png", "apex")


def test_faces_are_cut_as_the_processor_asks(checkpoint, smile):
    model, processor = loading.load(checkpoint)
    processor.face_geometry = {**processor.face_geometry, "size": 160}
    track = MicroExpressionPipeline(model, processor, "small faces").track(smile.clip)
    assert track.frames.shape[1:] == (160, 160, 3)


def test_an_unknown_model_is_refused_in_one_line():
    with pytest.raises(ValueError, match="no-such-model") as caught:
        MicroExpressionPipeline.from_pretrained("no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    ["positive", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("negative", "surprise"))],
)
def test_the_bundled_network_names_the_examples(example, kind):
    prediction = MicroExpressionPipeline.from_pretrained("htnet")(example(kind).clip)
    assert prediction.model == "htnet-synthetic"
    assert prediction.label == kind
