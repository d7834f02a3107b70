"""FaceSleuth's processor: the original's preprocessing, and action units in every form."""

import numpy as np
import pytest
import torch
from PIL import Image

from mer_hf.models.facesleuth import FaceSleuthImageProcessor
from mer_hf.models.facesleuth.image_processing_facesleuth import ACTION_UNITS
from tests.models.tiny import tiny_clip


def row(**present: float) -> list[float]:
    return [float(present.get(name, 0)) for name in ACTION_UNITS]


def units(given, **options) -> np.ndarray:
    processor = FaceSleuthImageProcessor(size=32, **options)
    return processor(tiny_clip(), action_units=given)["action_units"]


def test_frames_are_resized_and_normalised_as_the_original_does():
    clip = tiny_clip(size=96)
    found = FaceSleuthImageProcessor(size=64)(clip, onset=1, apex=3)["pixel_values"]
    assert found.shape == (1, 2, 3, 64, 64) and found.dtype == np.float32
    for i, frame in enumerate((1, 3)):
        small = np.asarray(Image.fromarray(clip[frame]).resize((64, 64), Image.BILINEAR)) / 255
        expected = (small - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(found[0, i], expected.transpose(2, 0, 1), atol=1e-6)


def test_there_are_the_original_s_21_action_units_in_its_order():
    assert len(ACTION_UNITS) == 21
    assert ACTION_UNITS[:4] == ["AU1", "AU2", "AU4", "AU5"] and ACTION_UNITS[-1] == "AU45"


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, row()),
        ([], row()),
        ({}, row()),
        (["AU4", "AU7"], row(AU4=1, AU7=1)),
        ({"AU45", "AU1"}, row(AU1=1, AU45=1)),
        ({"AU12": 0.5, "AU6": 0.49}, row(AU12=1)),
        # An estimate counts with its overall intensity, one that 2-D motion cannot show not at all.
        ({"AU12": (0.1, 0.2, 0.9), "AU1": (0.9, 0.9, 0.1), "AU5": None, "AU43": (1, 1, 1)}, row(AU12=1)),
        (row(AU2=1, AU9=0.4), row(AU2=1)),
        (torch.tensor(row(AU2=1)), row(AU2=1)),
        (np.array(row(AU2=1), dtype=bool), row(AU2=1)),
        ([["AU4"]], row(AU4=1)),
        ([None], row()),
        ([{"AU4": 1}], row(AU4=1)),
        (np.array([row(AU4=1)]), row(AU4=1)),
    ],
)
def test_action_units_in_every_form(given, expected):
    found = units(given)
    assert found.dtype == np.float32 and found.shape == (1, 21)
    assert found[0].tolist() == expected


def test_intensities_are_passed_on_where_bits_are_not_wanted():
    given = {"AU12": (0.1, 0.2, 0.75), "AU6": 0.25, "AU1": None}
    assert units(given, binarize_action_units=False)[0].tolist() == row(AU12=0.75, AU6=0.25)
    assert units(given, action_unit_threshold=0.25)[0].tolist() == row(AU12=1, AU6=1)


def test_every_clip_may_have_its_own_action_units():
    processor = FaceSleuthImageProcessor(size=32)
    clips = [tiny_clip(seed=0), tiny_clip(seed=1), tiny_clip(seed=2)]
    found = processor(clips, action_units=[["AU4"], None, {"AU12": 1.0}], return_tensors="pt")
    assert found["action_units"].tolist() == [row(AU4=1), row(), row(AU12=1)]
    for_all = processor(clips, action_units=["AU4"])["action_units"]
    assert for_all.tolist() == [row(AU4=1)] * 3
    with pytest.raises(ValueError, match="for each of 3 clips, got 2"):
        processor(clips, action_units=[None, ["AU4"]])


def test_the_order_is_that_of_the_saved_names(tmp_path):
    FaceSleuthImageProcessor(size=32, action_unit_names=["AU12", "AU4"]).save_pretrained(tmp_path)
    processor = FaceSleuthImageProcessor.from_pretrained(tmp_path)
    assert processor(tiny_clip(), action_units=["AU4"])["action_units"].tolist() == [[0, 1]]
    without = FaceSleuthImageProcessor(size=32, action_unit_names=[])
    assert set(without(tiny_clip(), action_units=["AU4"])) == {"pixel_values"}


@pytest.mark.parametrize(
    "given, words",
    [
        ("AU4", r"names in a list, such as \['AU4'\]"),
        (["brow"], "names such as 'AU12', got 'brow'"),
        ({"brow": 1.0}, "names such as 'AU12', got 'brow'"),
        ({"AU4": 1.5}, r"must lie in \[0, 1\]"),
        ({"AU4": float("nan")}, r"must lie in \[0, 1\]"),
        ([0.0] * 20, r"expected action_units of shape \(21,\)"),
        (np.zeros((2, 21)), "for each of 1 clips, got 2"),
    ],
)
def test_what_is_no_action_unit_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        units(given)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"size": 0}, "size"),
        ({"image_std": [1, 0, 1]}, "image_std"),
        ({"action_unit_names": ["AU1", "AU1"]}, "different names"),
        ({"action_unit_names": ["brow"]}, "names such as 'AU12', got 'brow'"),
        ({"action_unit_threshold": 2}, "action_unit_threshold"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        FaceSleuthImageProcessor(**options)
