"""A run changes the generator's settings by name; a typing mistake is reported before anything is drawn."""

import numpy as np
import pytest

from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import FaceSettings
from mer_hf.training.config import TrainingError, parse_args
from mer_hf.training.data import SyntheticSource
from mer_hf.training.samples import Faces, FlowMapSamples, changed
from tests.models.tiny import tiny_processor


def test_a_run_draws_with_its_settings():
    pairs = ["muscle=0.6", "peak_px=[1, 1.5]", "filmed=1"]
    config = parse_args(
        ["--output-dir", "x", "--num-samples", "8", "--batch-size", "4", "--generator", *pairs]
    )
    source = SyntheticSource(config, tiny_processor("htnet"), 0, 1)
    settings = FlowMapSettings(muscle=0.6, peak_px=(1, 1.5), filmed=1)
    drawn = source.kind.view(3, 8)[2]["flow"]
    assert np.array_equal(drawn, SyntheticFlowMaps(3, 8, settings)[2]["flow"])
    assert not np.array_equal(drawn, SyntheticFlowMaps(3, 8)[2]["flow"])
    assert config.stored()["generator"] == {"muscle": 0.6, "peak_px": [1, 1.5], "filmed": 1}


def test_sets_of_other_settings_are_kept_apart():
    processor = tiny_processor("mmnet")
    for kind in (FlowMapSamples, Faces):
        keys = {
            kind(processor, generator=changes).key() for changes in ({}, {"muscle": 0.5}, {"muscle": 0.6})
        }
        assert len(keys) == 3


def test_the_share_of_tracked_faces_has_a_flag_of_its_own():
    faces = Faces(tiny_processor("mmnet"), 0.25, {"coded": 0.0})
    assert faces.settings == FaceSettings(filmed=0.25, coded=0.0)
    with pytest.raises(TrainingError, match="FaceSettings has no such field"):
        Faces(tiny_processor("mmnet"), 0.25, {"filmed": 0.5})


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (FlowMapSettings(), {"muscles": 1}, "muscles: FlowMapSettings has no such field. Choose from"),
        (FaceSettings(), {"photograph": 1}, "FaceSettings has no such field"),
        (FlowMapSettings(), {"muscle": "strong"}, 'muscle must be like 0.25, got "strong"'),
        (FlowMapSettings(), {"muscle": -1}, "muscle must be like 0.25, got -1"),
        (FlowMapSettings(), {"muscle": True}, "got true"),
        (FlowMapSettings(), {"medians": 2.5}, "medians must be like 2, got 2.5"),
        (FlowMapSettings(), {"peak_px": 2}, "peak_px must be like [0.4, 4.0], got 2"),
        (FlowMapSettings(), {"peak_px": [1, 2, 3]}, "got [1, 2, 3]"),
        (FlowMapSettings(), {"peak_px": [2, 1]}, "got [2, 1]"),
        (FlowMapSettings(), {"peak_px": ["a", "b"]}, 'got ["a", "b"]'),
        (FlowMapSettings(), {"peak_px": [0, 1]}, "got [0, 1]"),  # its logarithm is drawn
        (FaceSettings(), {"crf": [23, 23]}, "crf must be like [18, 36]"),  # drawn below the upper end
    ],
)
def test_a_typing_mistake_is_reported_in_one_line(settings, changes, message):
    with pytest.raises(TrainingError) as error:
        changed(settings, changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_recorded_data_has_no_generator():
    with pytest.raises(TrainingError, match="--generator belongs to --data synthetic"):
        parse_args(["--output-dir", "x", "--data", "flows:maps.npz", "--generator", "muscle=1"])
