"""HTNet's configuration: what it accepts, refuses and saves."""

import pytest
from huggingface_hub.errors import StrictDataclassError

from mer_hf.models.htnet import HTNetConfig


@pytest.mark.parametrize(
    "given, depths, tokens",
    [
        ({}, [2, 2, 10], 1),
        ({"depths": 2}, [2, 2, 2], 1),  # one number: the same in each of three hierarchies
        ({"depths": 2, "num_hierarchies": 2}, [2, 2], 4),
        ({"depths": (1, 1)}, [1, 1], 4),  # 28 / 7 = 4 patches a side in 2 blocks a side
        ({"depths": [1], "patch_size": 4}, [1], 49),
        ({"image_size": 56, "depths": [1, 1, 1]}, [1, 1, 1], 4),
        ({"image_size": 56, "patch_size": 14, "depths": [1, 1, 1]}, [1, 1, 1], 1),
    ],
)
def test_depths_become_a_list_and_give_the_tokens_of_a_block(given, depths, tokens):
    config = HTNetConfig(**given)
    assert config.depths == depths and config.num_hierarchies == len(depths)
    assert config.tokens_per_block == tokens


@pytest.mark.parametrize(
    "given, message",
    [
        ({"patch_size": 5}, "image_size=28 and patch_size=5"),
        ({"depths": [1, 1, 1, 1]}, "image_size=28 and patch_size=7 with 4 hierarchies"),
        ({"image_size": 56, "patch_size": 8, "depths": [1, 1]}, "image_size=56 and patch_size=8 with 2"),
        ({"depths": [1, 1], "num_hierarchies": 3}, r"depths=\[1, 1\] and num_hierarchies=3"),
        ({"depths": []}, "depths"),
        ({"hidden_size": 2}, "hidden_size=2 and num_attention_heads=3"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_their_values(given, message):
    with pytest.raises(StrictDataclassError, match=message):
        HTNetConfig(**given)


def test_heads_need_not_divide_the_width():
    assert HTNetConfig(hidden_size=20, num_attention_heads=3).hidden_size == 20


def test_other_numbers_of_classes_lose_the_default_labels():
    assert HTNetConfig(num_labels=5).id2label == {i: f"LABEL_{i}" for i in range(5)}
    config = HTNetConfig(id2label={0: "calm", 1: "tense"})
    assert config.num_labels == 2 and config.label2id == {"calm": 0, "tense": 1}


def test_saved_and_loaded_configurations_are_equal(tmp_path):
    config = HTNetConfig(depths=1, hidden_size=32, mlp_ratio=2.5, id2label={0: "calm", 1: "tense"})
    config.save_pretrained(tmp_path)
    assert HTNetConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
