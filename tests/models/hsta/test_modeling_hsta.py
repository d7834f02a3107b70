import pytest
import torch
from torch.nn import functional as F

from mer_hf.models.hsta import HSTAConfig, HSTAForVideoClassification
from mer_hf.models.hsta import modeling_hsta as module
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


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_in_parts_gives_what_the_whole_gives(count, monkeypatch):
    model, pixel_values = small(), clips(count)
    options = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        parts = model(pixel_values, **options)
        monkeypatch.setattr(module, "CLIPS_AT_ONCE", 100)
        whole = model(pixel_values, **options)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
    for name in ("attentions", "hidden_states"):
        assert len(parts[name]) == len(whole[name])
        for own, other in zip(parts[name], whole[name], strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_many_tokens_take_the_quick_way_and_give_the_same():
    weight, bias, tokens = torch.randn(24, 16), torch.randn(24), torch.randn(2, 70, 16)
    with torch.no_grad():
        quick = module.dense(tokens, weight, bias, training=False)
        torch.testing.assert_close(quick, F.linear(tokens, weight, bias), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module.dense(tokens, weight, None, False), F.linear(tokens, weight))


def test_one_query_without_keys_and_values_is_plain_cross_attention():
    attention = small().hsta.stages[0].exchanges[0].attention.double()
    asking, patches = torch.randn(2, 1, 32).double(), torch.randn(2, 9, 32).double()
    for linear in (attention.query, attention.key, attention.value):
        torch.nn.init.normal_(linear.bias)
    tokens = torch.cat([asking, patches], dim=1)
    query, key, value = (
        linear(each).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
        for linear, each in ((attention.query, asking), (attention.key, tokens), (attention.value, tokens))
    )
    expected = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    found, weights = attention(asking, patches)
    torch.testing.assert_close(found, attention.projection(expected), rtol=0, atol=1e-12)
    assert weights.shape == (2, attention.num_heads, 1, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, attention.num_heads, 1).double())


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
    heat = model.relevance(target=[1, 3], pixel_values=pixel_values)
    assert heat.shape == (2, 6, 32, 32) and heat.min() >= 0 and heat.flatten(2).sum(-1).min() > 0
    torch.testing.assert_close(heat[:, 0], heat[:, 1], rtol=0, atol=0)  # a tubelet's frames share a map
    assert not torch.equal(heat[:, 1], heat[:, 2])
    torch.testing.assert_close(heat[:, 4], heat[:, 5], rtol=0, atol=0)
    assert not heat[:, 4:, 24:].any()  # 32 is no multiple of 12: the rest of the frame is not seen
    other = model.relevance(target=[2, 3], pixel_values=pixel_values)
    assert not torch.equal(other[0], heat[0])
    torch.testing.assert_close(other[1], heat[1], rtol=0, atol=0)


@pytest.mark.parametrize("target", [7, -1, [0, 1, 2], 0.5])
def test_a_wrong_target_is_told(target):
    with pytest.raises(ValueError, match="target must"):
        small().relevance(target=target, pixel_values=clips(2))


def test_input_of_another_shape_is_told():
    with pytest.raises(
        ValueError, match=r"\(B, 6, 3, 32, 32\), 4 sampled frames, onset and apex, got \(1, 6, 3, 48, 48\)"
    ):
        small()(clips(1, 48))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_sizes": [16]}, "two positive whole numbers, key frames and clip, got"),
        ({"num_attention_heads": [3, 4]}, "must divide hidden_sizes"),
        ({"depths": [[1, 2, 1]]}, "a third number"),
        ({"depths": [[1]]}, "a pair of numbers"),
        ({"depths": []}, "at least one stage"),
        ({"num_frames": 1}, "at least tubelet_size=2 frames"),
        ({"patch_sizes": [12, 40]}, "a frame must hold a patch"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must lie in"),
        ({"hidden_act": "nope"}, "hidden_act 'nope' is unknown"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_sizes_that_do_not_fit_are_told(wrong, message):
    with pytest.raises(Exception, match=message):
        HSTAConfig(**SMALL | wrong)


def test_the_originals_third_number_of_a_stage_may_be_0():
    assert HSTAConfig(**SMALL | {"depths": [[1, 2, 0], [1, 1, 0]]}).depths == [[1, 2], [1, 1]]
