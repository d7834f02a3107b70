"""What is particular to HTNet's network; what it shares with the others is in test_contract.py."""

import pytest
import torch

from mer_hf.models.htnet import HTNetConfig, HTNetForVideoClassification, HTNetModel

ONE_TOKEN = {"hidden_size": 20, "num_attention_heads": 3, "depths": [1, 1, 2]}
FOUR_TOKENS = {"hidden_size": 20, "num_attention_heads": 3, "depths": [1, 2]}


def classifier(**given) -> HTNetForVideoClassification:
    torch.manual_seed(0)
    return HTNetForVideoClassification(HTNetConfig(**given)).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return 255 * torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_of_one_token_is_one(implementation):
    model = classifier(**ONE_TOKEN)
    model.set_attn_implementation(implementation)
    attentions = model(pictures(), output_attentions=True).attentions
    # 4 x 4, 2 x 2 and 1 block of two samples; 3, 6 and 12 heads
    assert [tuple(a.shape) for a in attentions] == [(32, 3, 1, 1), (8, 6, 1, 1), (2, 12, 1, 1), (2, 12, 1, 1)]
    assert all((a == 1).all() for a in attentions)


def test_fused_and_written_out_attention_agree():
    model, pixel_values = classifier(**FOUR_TOKENS), pictures()
    found = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        found[implementation] = model(pixel_values).logits
    torch.testing.assert_close(found["eager"], found["sdpa"], rtol=0, atol=1e-5)
    asked = model(pixel_values, output_attentions=True)  # sdpa is set; the weights are given all the same
    assert [tuple(a.shape) for a in asked.attentions] == [(8, 3, 4, 4), (2, 6, 4, 4), (2, 6, 4, 4)]
    torch.testing.assert_close(asked.logits, found["sdpa"], rtol=0, atol=1e-5)


def test_hidden_states_are_the_maps_of_each_level():
    states = HTNetModel(HTNetConfig(**ONE_TOKEN)).eval()(pictures(), output_hidden_states=True).hidden_states
    assert [tuple(s.shape) for s in states] == [(2, 20, 4, 4), (2, 40, 2, 2), (2, 80, 1, 1), (2, 80, 1, 1)]


def test_initialisation_is_that_of_the_original():
    model = classifier(hidden_size=64, depths=[1, 1], patch_size=2)
    layer = model.htnet.hierarchies[0].layers[0]
    for linear, fan_in in (
        (layer.mlp.fc1, 64),
        (layer.mlp.fc2, 256),
        (model.htnet.hierarchies[0].aggregation.convolution, 9 * 64),
    ):
        bound = fan_in**-0.5
        for tensor in (linear.weight, linear.bias):
            assert 0.95 * bound < tensor.abs().max() <= bound * (1 + 1e-6)
        assert abs(linear.weight.std() / (bound / 3**0.5) - 1) < 0.05  # uniform
    assert (layer.norm_after.weight == 1).all() and (layer.norm_after.bias == 0).all()
    scalars = torch.cat([h.position_embedding for h in model.htnet.hierarchies])  # 98 of them
    assert 0.8 < scalars.std() < 1.2


def test_a_replaced_head_is_initialised_on_loading(tmp_path):
    classifier(**ONE_TOKEN).save_pretrained(tmp_path)
    torch.manual_seed(3)
    model = HTNetForVideoClassification.from_pretrained(
        tmp_path, num_labels=200, ignore_mismatched_sizes=True
    )
    assert 0.95 * 80**-0.5 < model.classifier.weight.abs().max() <= 80**-0.5 * (1 + 1e-6)
    assert 0.9 * 80**-0.5 < model.classifier.bias.abs().max() <= 80**-0.5 * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 56, 56), (2, 2, 28, 28), (3, 28, 28)])
def test_pixel_values_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected pixel_values of shape \(B, 3, 28, 28\), got"):
        classifier(**ONE_TOKEN)(torch.zeros(shape))


def test_relevance_lies_where_the_only_motion_is():
    model = classifier(**ONE_TOKEN)
    pixel_values = torch.zeros(1, 3, 28, 28)
    pixel_values[..., 4:9, 18:23] = torch.randn(3, 5, 5)
    heats = [model.relevance(target, pixel_values=pixel_values)[0] for target in range(3)]
    assert any(heat.any() for heat in heats) and not all(torch.equal(heat, heats[0]) for heat in heats)
    for heat in heats:
        outside = heat.clone()
        outside[:14, 14:] = 0
        assert not outside.any()  # windows stay in a quarter


def test_relevance_asks_for_the_highest_class_by_default():
    model, pixel_values = classifier(**ONE_TOKEN), pictures(3)
    own = model(pixel_values).logits.argmax(-1).tolist()
    with torch.inference_mode():
        heat = model.relevance(pixel_values=pixel_values)
    for i, target in enumerate(own):
        alone = model.relevance(target, pixel_values=pixel_values[i : i + 1])
        torch.testing.assert_close(heat[i : i + 1], alone, rtol=1e-4, atol=1e-5 * alone.max().item())
