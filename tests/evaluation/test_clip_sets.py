"""Test clips with a known answer, and what checkpoints answer."""

import numpy as np
import pytest

from mer_hf.evaluation.clip_results import evaluate_clip, evaluate_clips
from mer_hf.evaluation.clip_sets import SILENT, TestClip, render_test_clip
from mer_hf.inference.calibration import FEATURES
from mer_hf.inference.pipeline import MicroExpressionPipeline

SMALL = {"fps": 25.0, "interocular_px": 50.0, "noise": 0.5}


def test_a_clip_is_a_function_of_kind_seed_and_index():
    test = TestClip(peak_px=2.0, **SMALL)
    (one, label), (again, _), (other, _) = (render_test_clip(test, 5, index) for index in (1, 1, 2))
    assert np.array_equal(one.clip.frames, again.clip.frames) and one.clip.source == again.clip.source
    assert one.clip.source != other.clip.source and one.motion.activations != other.motion.activations
    assert label in (0, 1, 2) and len(one.clip.frames) == 40 and one.motion.peak_px == 2.0
    assert render_test_clip(test, 6, 1)[0].clip.source != one.clip.source


@pytest.mark.parametrize("kind", SILENT)
def test_a_clip_without_an_expression_has_no_label_and_moves_as_it_should(kind):
    rendered, label = render_test_clip(TestClip(kind, **SMALL), 3, 0)
    assert label == -1 and rendered.motion.activations == {} and rendered.onset is None
    frames = rendered.clip.frames
    change = np.abs(frames.astype(int) - frames[0]).mean(axis=(1, 2, 3))
    assert 0.3 < change.max() < 40


def test_compression_and_one_side_are_as_asked():
    tests = [TestClip(peak_px=2.0, crf=crf, **SMALL) for crf in (None, 35)]
    plain, packed = (render_test_clip(test, 5, 1)[0].clip.frames for test in tests)
    assert plain.shape == packed.shape and 1 < np.abs(plain.astype(int) - packed).mean() < 12
    for index in range(2):
        motion = render_test_clip(TestClip(one_sided=True, **SMALL), 5, index)[0].motion
        assert {min(pair) for pair in motion.activations.values()} == {0.0}


def assert_same(result, prediction):
    assert result.outcome == prediction.outcome
    assert np.allclose(result.scores, list(prediction.scores.values()), atol=1e-6)


def test_a_result_is_what_the_pipeline_answers(checkpoint):
    pipe = MicroExpressionPipeline.from_pretrained(checkpoint)
    test = TestClip(peak_px=3.0, **SMALL)
    (result,) = evaluate_clip({"it": pipe}, test, 9, 0).values()
    rendered, label = render_test_clip(test, 9, 0)
    assert_same(result, pipe(rendered.clip))
    assert result.label == label and result.peak_px == 3.0 and set(result.features) == set(FEATURES)
    assert result.face.startswith("person-") and result.activations == rendered.motion.activations


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_processes(checkpoint):
    tests = [TestClip(peak_px=3.0, **SMALL), TestClip("talk", **SMALL)]
    one, two = (evaluate_clips([str(checkpoint)], tests, 9, n)[str(checkpoint)] for n in (1, 2))
    pipe = MicroExpressionPipeline.from_pretrained(checkpoint)
    for index, (test, first, second) in enumerate(zip(tests, one, two, strict=True)):
        assert first.test == second.test == test and first.features == second.features
        assert np.array_equal(first.scores, second.scores)
        assert_same(first, pipe(render_test_clip(test, 9, index)[0].clip))
