"""FaceSleuth's configuration: the published values, and sizes that do not fit together."""

import pytest

from mer_hf.models.facesleuth import FaceSleuthConfig
from tests.models.tiny import TINY


def test_defaults_are_the_published_network():
    config = FaceSleuthConfig()
    assert config.attention_type == "cva" and config.attention_reduction == 32
    assert config.grid_size == 14 and config.swin_sides == [56, 28, 14]
    assert config.skip_batch_norm_for_single_sample is True
    assert list(config.id2label.values()) == ["happiness", "repression", "disgust", "surprise", "others"]


def test_the_gates_are_reduced_as_their_kind_is_published():
    kinds = {"cva": 32, "soa": 16, "coordinate": 32}
    assert {kind: FaceSleuthConfig(attention_type=kind).attention_reduction for kind in kinds} == kinds
    assert FaceSleuthConfig(attention_type="soa", attention_reduction=4).attention_reduction == 4


def test_whole_numbers_will_do_where_fractions_are_expected():
    fields = {"swin_mlp_ratio": 4, "drop_path_rate": 0, "soa_initial_angle": 90, "layer_norm_eps": 1}
    assert FaceSleuthConfig(**fields).swin_mlp_ratio == 4


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"attention_type": "vertical"}, "attention_type"),
        ({"image_size": "224"}, "image_size"),
        ({"image_size": 216}, "image_size must be a multiple of 16"),
        ({"hidden_sizes": [64, 128, 256, 512]}, "first two of hidden_sizes must be equal"),
        ({"hidden_sizes": [128, 128, 256, 256]}, "the last of hidden_sizes, 256"),
        ({"swin_depths": [2, 2]}, "doubled over 2 stages, are 8 and 256"),
        ({"swin_patch_size": 8}, "doubled over 3 stages, are 32 and 512"),
        ({"swin_window_size": 8}, r"must divide the grids of sides \[56, 28, 14\]"),
        ({"soa_initial_angle": None}, "soa_initial_angle"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_one_clear_line(fields, words):
    with pytest.raises(Exception, match=words) as error:
        FaceSleuthConfig(**fields)
    assert "\n" not in str(error.value).strip().splitlines()[-1]


def test_plain_attention_may_widen_at_its_second_stage():
    assert FaceSleuthConfig(attention_type="ca", hidden_sizes=[64, 128, 256, 512]).grid_size == 14


def test_other_grids_and_windows_fit():
    assert FaceSleuthConfig(image_size=112).swin_sides == [28, 14, 7]
    assert FaceSleuthConfig(swin_depths=[2, 6], swin_num_heads=[8, 16], swin_patch_size=8, swin_embed_dim=256)
    assert FaceSleuthConfig(**TINY["facesleuth"].config).swin_sides == [16, 8, 4]
