"""A run changes the generator's settings by name, and a slip of the pen is told before anything is drawn."""

import numpy as np
import pytest

from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import FaceSettings
from mer_hf.training.config import TrainingError, parse_args
from mer_hf.training.data import Share, SyntheticSource
from mer_hf.training.generator import changed
from mer_hf.training.samples import Faces, FlowMapSamples
from tests.models.tiny import tiny_processor


def test_a_run_draws_with_the_settings_it_is_given():
    given = ["muscle=0.6", "peak_px=[1, 1.5]", "filmed=1"]
    config = parse_args(
        ["--output-dir", "x", "--num-samples", "8", "--batch-size", "4", "--generator", *given]
    )
    source = SyntheticSource(config, tiny_processor("htnet"), Share(0, 1))
    settings = FlowMapSettings(muscle=0.6, peak_px=(1, 1.5), filmed=1)
    drawn = source.kind.view(3, 8)[2]["flow"]
    assert np.array_equal(drawn, SyntheticFlowMaps(3, 8, settings)[2]["flow"])
    assert not np.array_equal(drawn, SyntheticFlowMaps(3, 8)[2]["flow"])
    assert config.stored()["generator"] == {"muscle": 0.6, "peak_px": [1, 1.5], "filmed": 1}


def test_sets_of_other_settings_are_kept_apart():
    processor = tiny_processor("mmnet")
    for kind in (
        lambda **given: FlowMapSamples(processor, **given),
        lambda **given: Faces(processor, **given),
    ):
        keys = {kind(generator=given).key() for given in ({}, {"muscle": 0.5}, {"muscle": 0.6})}
        assert len(keys) == 3
        assert "generator_settings" not in kind().settings()
        assert kind(generator={"muscle": 0.5}).settings()["generator_settings"] == {"muscle": 0.5}


def test_the_share_of_filmed_faces_keeps_its_own_flag():
    faces = Faces(tiny_processor("mmnet"), 0.25, {"coded": 0.0})
    assert faces.face_settings == FaceSettings(filmed=0.25, coded=0.0)


@pytest.mark.parametrize(
    ("settings", "given", "told"),
    [
        (FlowMapSettings(), {"muscles": 1}, "FlowMapSettings has no field of this name"),
        (FaceSettings(), {"photograph": 1}, "FaceSettings has no field of this name"),
        (
            FlowMapSettings(),
            {"muscle": "strong"},
            'muscle must be a number of at least 0 like 0.25, got "strong"',
        ),
        (FlowMapSettings(), {"muscle": -1}, "at least 0"),
        (FlowMapSettings(), {"muscle": True}, "a number"),
        (FlowMapSettings(), {"medians": 2.5}, "a whole number"),
        (FlowMapSettings(), {"peak_px": 2}, "a list of 2 numbers like"),
        (FlowMapSettings(), {"peak_px": [1, 2, 3]}, "a list of 2 numbers"),
        (FlowMapSettings(), {"peak_px": [2, 1]}, "the lower and the upper end of a range"),
        (FlowMapSettings(), {"peak_px": ["a", "b"]}, "a list of numbers"),
        (FlowMapSettings(), {"picture_px": []}, "a list of 3 whole numbers"),
        (FlowMapSettings(), {"picture_px": [8]}, "in 28 to 1024"),
        (FlowMapSettings(), {"peak_px": [0, 1]}, "in 0.01 to 100"),
        (FaceSettings(), {"crf": [23, 23]}, "the lower and the upper end of a range"),
        (FlowMapSettings(), {"class_shares": [0.5, 0.5, 0.5]}, "shares that add up to 1"),
    ],
)
def test_a_slip_of_the_pen_is_told_in_one_line(settings, given, told):
    with pytest.raises(TrainingError) as error:
        changed(settings, given)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_pictures_of_one_size_are_a_list_of_one():
    assert changed(FlowMapSettings(), {"picture_px": [84]}).picture_px == (84,)


def test_recorded_data_has_no_generator():
    with pytest.raises(TrainingError, match="--generator belongs to --data synthetic"):
        parse_args(["--output-dir", "x", "--data", "flows:maps.npz", "--generator", "muscle=1"])
