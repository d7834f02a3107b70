import pytest
import torch

from mer_hf.models.mmnet import MMNetConfig, MMNetForVideoClassification
from mer_hf.models.mmnet import modeling_mmnet as module


def small(**changes) -> MMNetForVideoClassification:
    sizes = {"image_size": 32, "stem_channels": [8, 8], "hidden_sizes": [8, 8, 16, 32], **changes}
    torch.manual_seed(0)
    model = MMNetForVideoClassification(MMNetConfig(**sizes)).eval()
    for name, buffer in model.named_buffers():  # statistics of a network that was trained
        if name.endswith("running_var"):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model


def pairs(count: int, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_batch_in_parts_gives_what_the_whole_gives(count, monkeypatch):
    model, pixel_values = small(), pairs(count)
    options = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        parts = model(pixel_values, **options)
        monkeypatch.setattr(module, "SAMPLES_AT_ONCE", 100)
        whole = model(pixel_values, **options)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-5, atol=1e-6)
    for own, other in zip(
        parts.attentions + parts.hidden_states, whole.attentions + whole.hidden_states, strict=True
    ):
        assert len(own) == count
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_gradients_in_evaluation_reach_every_parameter_and_agree_with_finite_differences():
    model, pixel_values = small().double(), pairs(3).double()
    loss = model(pixel_values, labels=torch.tensor([0, 1, 4])).loss
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    weight = model.mmnet.motion_branch.blocks[1].convolution1.normalization.weight
    with torch.no_grad():
        weight[2] += 1e-5
        moved = model(pixel_values, labels=torch.tensor([0, 1, 4])).loss
    assert (moved - loss).item() / 1e-5 == pytest.approx(weight.grad[2].item(), rel=1e-3)


def test_maps_are_products_of_gates():
    with torch.no_grad():
        outputs = small()(pairs(2), output_attentions=True)
    assert [a.shape[-1] for a in outputs.attentions] == [16, 8, 4, 2]
    for earlier, later in zip(outputs.attentions, outputs.attentions[1:], strict=False):
        pooled = torch.nn.functional.max_pool2d(earlier, 3, stride=2, padding=1)
        assert (later <= pooled).all() and (later > 0).all() and (earlier < 1).all()


def test_no_motion_leaves_the_motion_branch_the_same_for_every_face():
    still = pairs(2)
    still[:, 1] = still[:, 0]
    with torch.no_grad():
        outputs = small().mmnet(still)
    gated = outputs.last_hidden_state - outputs.position_embedding
    torch.testing.assert_close(gated[0], gated[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
def test_the_small_onset_averages_the_middle_of_each_cell_or_all_of_it(antialias):
    onset = torch.zeros(1, 3, 32, 32)
    onset[0, 0, 0, 0] = 1.0  # a corner, far from the middle of its cell of 16 x 16
    small_onset = small(resize_antialias=antialias).mmnet.position_branch.reduce(onset)
    assert small_onset.shape == (1, 3, 2, 2) and bool(small_onset.any()) is antialias


def test_relevance_is_of_the_target_and_lies_where_the_motion_is():
    model, pixel_values = small(image_size=64), torch.zeros(2, 2, 3, 64, 64)
    pixel_values[0, 1, :, 4:12, 4:12] = 1.0  # motion in the upper left corner
    heat = model.relevance(target=[1, 3], pixel_values=pixel_values)
    assert heat.shape == (2, 32, 32) and heat.dtype == torch.float32 and heat.min() >= 0
    others = [model.relevance(target=t, pixel_values=pixel_values)[0] for t in range(5)]
    assert torch.equal(others[1], heat[0]) and len({h.sum().item() for h in others}) == 5
    assert not model.training and all(p.grad is None for p in model.parameters())
    default = model.relevance(pixel_values=pixel_values)
    answer = model(pixel_values).logits.argmax(-1).tolist()
    assert torch.equal(default, model.relevance(target=answer, pixel_values=pixel_values))


@pytest.mark.parametrize("target", [5, -1, [0, 1, 2], 0.5])
def test_a_wrong_target_is_told(target):
    with pytest.raises(ValueError, match="target must"):
        small().relevance(target=target, pixel_values=pairs(2))


def test_input_of_another_size_is_told():
    with pytest.raises(ValueError, match=r"\(B, 2, 3, 32, 32\), onset and apex, got \(1, 2, 3, 48, 48\)"):
        small()(pairs(1, 48))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 40}, "multiple of 16 with 4 blocks, got 40"),
        ({"strides": [2, 2, 2, 2]}, "1 for the first block"),
        ({"stem_channels": [8]}, "two widths"),
        ({"hidden_sizes": [8, 8, 16, 30]}, "must divide the last of hidden_sizes, got 4 and 30"),
        ({"num_channels": 0}, "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_told(wrong, message):
    with pytest.raises(Exception, match=message):
        small(**wrong)
