import numpy as np

from benchmarks import held_out
from benchmarks.held_out import (
    HELD_OUT_SEED,
    SETTINGS,
    SHIFTED,
    evaluate_synthetic,
    held_out_maps,
    photograph_raster,
)
from mer_hf.models.htnet import HTNetConfig, HTNetForVideoClassification, HTNetImageProcessor
from mer_hf.synthetic.pictures import to_raster


def test_no_training_or_validation_seed_reaches_the_held_out_seed():
    from mer_hf.training.config import MAX_SEED
    from mer_hf.training.data import VALIDATION_SEED

    assert HELD_OUT_SEED > MAX_SEED and HELD_OUT_SEED != VALIDATION_SEED


def test_a_photograph_gives_other_maps_than_drawings_of_the_same_settings():
    drawn, labels = held_out_maps("drawn faces, DIS", 2)
    filmed, same_labels = held_out_maps("photograph, DIS", 2)
    np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(drawn, filmed)


def test_shifted_settings_are_others_and_move_skin_as_training_never_does():
    assert not set(SHIFTED) & set(SETTINGS)
    assert all(settings.contraction == 1 and settings.filmed == 1 for settings in SHIFTED.values())
    assert not any(settings.contraction for settings in SETTINGS.values())
    config = HTNetConfig(hidden_size=8, depths=[1, 1, 1], num_attention_heads=1)
    tiny = (HTNetForVideoClassification(config).eval(), HTNetImageProcessor())
    assert list(evaluate_synthetic({"tiny": tiny}, 2, ["people at odds"])) == ["people at odds"]


def test_every_setting_is_scored_for_every_model(monkeypatch):
    monkeypatch.setattr(held_out, "SETTINGS", {"imitated flow": held_out.SETTINGS["imitated flow"]})
    config = HTNetConfig(hidden_size=8, depths=[1, 1, 1], num_attention_heads=1)
    model = HTNetForVideoClassification(config).eval()
    result = evaluate_synthetic({"tiny": (model, HTNetImageProcessor())}, size=4)
    assert list(result) == ["imitated flow"]
    assert 0.0 <= result["imitated flow"]["tiny"]["uf1"] <= 1.0


def test_the_photograph_lies_on_the_raster_with_its_pupils_where_the_neutral_eyes_are():
    raster = photograph_raster()
    for x in (-0.5, 0.5):
        column, row = np.round(to_raster((x, 0.0))).astype(int)
        around = raster[row - 8 : row + 9, column - 12 : column + 13]
        dark_y, dark_x = np.unravel_index(around.argmin(), around.shape)
        assert abs(dark_x - 12) <= 5 and abs(dark_y - 8) <= 5
