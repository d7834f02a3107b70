import pytest
import torch

from mer_hf.models.mmnet import MMNetConfig, MMNetForVideoClassification


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
    heats = [model.relevance(target=t, pixel_values=pixel_values) for t in range(5)]
    assert heats[1].shape == (2, 32, 32) and heats[1].dtype == torch.float32
    assert all(heat.min() >= 0 for heat in heats) and len({heat[0].sum().item() for heat in heats}) == 5
    assert not model.training and all(p.grad is None for p in model.parameters())
    answers = model(pixel_values).logits.argmax(-1).tolist()
    for i, heat in enumerate(model.relevance(pixel_values=pixel_values)):
        assert torch.equal(heat, heats[answers[i]][i])


def test_input_of_another_size_is_told():
    with pytest.raises(ValueError, match=r"\(B, 2, 3, 32, 32\), onset and apex, got \(1, 2, 3, 48, 48\)"):
        small()(pairs(1, 48))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 40}, "multiple of 16 with 4 blocks, got 40"),
        ({"strides": [2, 2, 2, 2]}, "1 for the first block"),
    ],
)
def test_sizes_that_do_not_fit_are_told(wrong, message):
    with pytest.raises(Exception, match=message):
        small(**wrong)
