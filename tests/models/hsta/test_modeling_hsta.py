import pytest
import torch

from mer_hf.models.hsta import HSTAConfig, HSTAForVideoClassification
from tests.models.tiny import TINY

SMALL = TINY["hsta"].config


def small(**changes) -> HSTAForVideoClassification:
    torch.manual_seed(0)
    model = HSTAForVideoClassification(HSTAConfig(**SMALL | changes)).eval()
    for parameter in model.parameters():  # large enough for attention to choose
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def clips(count: int, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 6, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_attentions_come_stage_by_stage():
    with torch.no_grad():
        outputs = small()(clips(2), output_attentions=True)
    # Key frames: 1 x 2 x 2 patches of 12 pixels; clip: 2 x 2 x 2 of 16. Blocks [1, 2] and [1, 1], and two
    # exchanges each.
    shapes = [(5, 5), (9, 9), (9, 9), (1, 9), (1, 5), (5, 5), (9, 9), (1, 9), (1, 5)]
    assert [tuple(a.shape[2:]) for a in outputs.attentions] == shapes
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


@pytest.mark.parametrize("pooling", ["cls", "cls_last", "mean"])
def test_relevance_has_a_map_for_every_frame_and_follows_the_class(pooling):
    model, pixel_values = small(pooling=pooling), clips(2)
    heat = model.relevance(target=1, pixel_values=pixel_values)
    assert heat.shape == (2, 6, 32, 32) and heat.min() >= 0 and heat.flatten(2).sum(-1).min() > 0
    torch.testing.assert_close(heat[:, 0], heat[:, 1], rtol=0, atol=0)  # a tubelet's frames share a map
    assert not torch.equal(heat[:, 1], heat[:, 2])
    torch.testing.assert_close(heat[:, 4], heat[:, 5], rtol=0, atol=0)
    assert not heat[:, 4:, 24:].any()  # 32 is not a multiple of 12: the edge of the frame is ignored
    other = model.relevance(target=2, pixel_values=pixel_values)
    assert not torch.equal(other[0], heat[0]) and not torch.equal(other[1], heat[1])


def test_relevance_asks_for_the_highest_class_by_default():
    model, pixel_values = small(), clips(2)
    own = model(pixel_values).logits.argmax(-1).tolist()
    heat = model.relevance(pixel_values=pixel_values)
    for i, target in enumerate(own):
        alone = model.relevance(target=target, pixel_values=pixel_values[i : i + 1])
        torch.testing.assert_close(heat[i : i + 1], alone, rtol=1e-4, atol=1e-6)


def test_input_of_another_shape_is_told():
    with pytest.raises(
        ValueError, match=r"\(B, 6, 3, 32, 32\), 4 sampled frames, onset and apex, got \(1, 6, 3, 48, 48\)"
    ):
        small()(clips(1, 48))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_sizes": [16]}, "hidden_sizes needs two numbers, key frames and clip, got"),
        ({"num_attention_heads": [3, 4]}, "must divide hidden_sizes"),
        ({"depths": [[1, 2, 1]]}, "stage 0 of depths needs two numbers"),
        ({"depths": [[1]]}, "stage 0 of depths needs two numbers"),
        ({"depths": []}, "at least one stage"),
        ({"num_frames": 1}, "at least tubelet_size=2 frames"),
        ({"patch_sizes": [12, 40]}, "a frame must hold a patch"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_sizes_that_do_not_fit_are_told(wrong, message):
    with pytest.raises(Exception, match=message):
        HSTAConfig(**SMALL | wrong)


def test_the_originals_third_number_of_a_stage_may_be_0():
    assert HSTAConfig(**SMALL | {"depths": [[1, 2, 0], [1, 1, 0]]}).depths == [[1, 2], [1, 1]]
