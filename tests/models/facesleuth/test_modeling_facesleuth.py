"""What is FaceSleuth's own: its kinds of attention, the learned angle, single samples, relevance."""

import math

import pytest
import torch

from benchmarks.baseline.facesleuth import FaceSleuthBaseline
from mer_hf.inference.optimize import optimize_for_inference
from mer_hf.models.facesleuth import FaceSleuthConfig, FaceSleuthForVideoClassification
from mer_hf.models.facesleuth.convert_facesleuth import rename
from mer_hf.models.facesleuth.modeling_facesleuth import FaceSleuthOrientationGate
from tests.models.tiny import TINY, tiny_inputs

KINDS = ("cva", "soa", "coordinate", "ca")
every_kind = pytest.mark.parametrize("kind", KINDS)


def network(kind: str, **fields) -> FaceSleuthForVideoClassification:
    torch.manual_seed(0)
    fields = TINY["facesleuth"].config | {"attention_type": kind} | fields
    return FaceSleuthForVideoClassification(FaceSleuthConfig(**fields)).eval()


def base_line(config: FaceSleuthConfig) -> FaceSleuthBaseline:
    fields = {name: getattr(config, name) for name in FaceSleuthConfig.__annotations__}
    return FaceSleuthBaseline(**fields, num_labels=config.num_labels)


def inputs_of(seed: int = 0, count: int = 2, size: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(count, 2, 3, size, size, generator=generator)
    return {
        "pixel_values": frames,
        "action_units": (torch.rand(count, 21, generator=generator) < 0.3).float(),
    }


@every_kind
def test_training_steps_are_those_of_the_original(kind):
    """Batch statistics, their running means, and gradients: rows and columns share a batch norm."""
    model = network(kind).double().train()
    base = base_line(model.config).double().train()
    model.load_state_dict(rename(base.state_dict(), kind))
    inputs = {name: tensor.double() for name, tensor in inputs_of(count=4).items()}
    ours, theirs = model(**inputs).logits, base(**inputs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    for logits in (ours, theirs):
        torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    after = rename(base.state_dict(), kind)
    for name, buffer in model.named_buffers():
        if name in after and buffer.is_floating_point():
            torch.testing.assert_close(buffer, after[name], rtol=1e-9, atol=1e-9, msg=name)
    gradients = rename({n: p.grad for n, p in base.named_parameters() if p.grad is not None}, kind)
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-6, atol=1e-8, msg=name)


@every_kind
def test_gradients_in_evaluation_reach_every_parameter(kind):
    model = network(kind)
    model(**inputs_of(), labels=torch.tensor([0, 1])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@every_kind
def test_other_sizes_fit_together(kind):
    fields = {
        "image_size": 112,
        "swin_window_size": 7,
        "swin_depths": [2, 1, 3],
        "hidden_sizes": [8, 8, 16, 64],
        "num_action_units": 0,
        "num_labels": 3,
        "attention_reduction": 2,
        "swin_mlp_ratio": 1.5,
        "swin_qkv_bias": False,
    }
    model = network(kind, **fields)
    base = base_line(model.config).eval()
    model.load_state_dict(rename(base.state_dict(), kind))
    frames = inputs_of(count=3, size=112)
    with torch.no_grad():
        found = model(**frames).logits  # action units are given and have no effect
        torch.testing.assert_close(found, base(**frames), rtol=1e-4, atol=1e-5)
    assert found.shape == (3, 3)


def with_angle(degrees: float, length: float = 1.0) -> FaceSleuthOrientationGate:
    gate = FaceSleuthOrientationGate(FaceSleuthConfig(attention_type="soa"), 16)
    angle = math.radians(degrees)
    gate.direction.data = length * torch.tensor([math.cos(angle), math.sin(angle)])
    return gate.double()


def test_the_angle_0_takes_means_of_rows_and_90_of_columns():
    picture = torch.rand(9, 9, dtype=torch.float64)
    for degrees, expected in ((0, picture.mean(1)), (90, picture.mean(0)), (180, picture.mean(1).flip(0))):
        pooled = with_angle(degrees, length=3.0).pool(picture[None, None])
        torch.testing.assert_close(pooled[0, 0, :, 0], expected, rtol=0, atol=1e-6)


def test_a_turned_picture_has_zeros_outside():
    """At 45 degrees the corners of the turned picture lie outside, so that the outer means are smaller."""
    pooled = with_angle(45).pool(torch.ones(1, 1, 12, 12, dtype=torch.float64))[0, 0, :, 0]
    torch.testing.assert_close(pooled, pooled.flip(0), rtol=0, atol=1e-9)
    assert pooled[0] < 0.5 < 0.99 < pooled[5] <= 1


def test_the_angle_is_learned_and_read_in_degrees():
    model = network("soa")
    assert model.attention_angles_deg() == pytest.approx([72.0] * 4, abs=1e-4)
    gate = model.facesleuth.motion_branch.stages[1].gate
    gate.direction.data = torch.tensor([-3.0, -3.0])  # 225 degrees: the same lines as 45
    assert model.attention_angles_deg()[1] == pytest.approx(45.0, abs=1e-4)
    model.train()(**inputs_of(), labels=torch.tensor([0, 1])).loss.backward()
    gradients = [stage.gate.direction.grad for stage in model.facesleuth.motion_branch.stages]
    assert all(gradient.norm() > 0 for gradient in gradients)
    assert network("soa", soa_initial_angle=30).attention_angles_deg()[0] == pytest.approx(30.0, abs=1e-4)
    with pytest.raises(ValueError, match="only attention_type='soa' has a learned direction"):
        network("cva").attention_angles_deg()


@every_kind
def test_gates_are_returned_stage_by_stage(kind):
    model = network(kind)
    gates = model(**inputs_of(), output_attentions=True).attentions
    sides, widths = (32, 16, 8, 4), (16, 16, 32, 64)
    if kind == "ca":
        expected = [(2, 1, side, side) for side in sides]
    elif kind == "coordinate":
        both = zip(sides, widths, strict=True)
        expected = [shape for n, c in both for shape in ((2, c, n, 1), (2, c, 1, n))]
    else:
        expected = [(2, c, n, 1) for n, c in zip(sides, widths, strict=True)]
    assert [tuple(gate.shape) for gate in gates] == expected
    assert gates[0].min() >= 0 and gates[0].max() <= 1


def spread_statistics(model):
    """Batch norms as after training: with their first statistics skipping one changes next to nothing."""
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.2, 0.6)
    return model


@every_kind
def test_a_sample_alone_is_judged_as_in_a_batch_unless_the_original_is_wanted(kind):
    inputs = inputs_of(count=3)
    alone = {name: tensor[:1] for name, tensor in inputs.items()}
    for skip in (False, True):
        model = spread_statistics(network(kind, skip_batch_norm_for_single_sample=skip))
        with torch.no_grad():
            apart, together = model(**alone).logits, model(**inputs).logits[:1]
        assert torch.allclose(apart, together, rtol=1e-4, atol=1e-5) is not skip


def test_action_units_count_and_are_0_by_default():
    model, inputs = spread_statistics(network("cva")), inputs_of()
    with torch.no_grad():
        given = model(**inputs).logits
        without = model(inputs["pixel_values"]).logits
        zeros = model(inputs["pixel_values"], torch.zeros(2, 21)).logits
    torch.testing.assert_close(without, zeros, rtol=0, atol=0)
    assert (given - without).abs().max() > 1e-4


@pytest.mark.parametrize(
    "change, words",
    [
        ({"pixel_values": torch.zeros(2, 3, 64, 64)}, r"\(B, 2, 3, 64, 64\), onset and apex"),
        ({"pixel_values": torch.zeros(2, 2, 3, 32, 32)}, r"FaceSleuthImageProcessor\(size=64\)"),
        ({"action_units": torch.zeros(2, 20)}, r"action_units of shape \(2, 21\)"),
        ({"action_units": torch.zeros(21)}, r"action_units of shape \(2, 21\)"),
        ({"action_units": torch.zeros(1, 21)}, r"action_units of shape \(2, 21\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        network("cva")(**inputs_of() | change)


@every_kind
def test_relevance_is_of_a_class_and_of_the_weights(kind):
    model, inputs = network(kind), tiny_inputs("facesleuth")
    maps = [model.relevance(target, **inputs) for target in range(3)]
    for each in maps:
        assert each.shape == (2, 32, 32) and each.dtype == torch.float32
        assert each.isfinite().all() and each.min() >= 0
    for one, other in ((0, 1), (1, 2)):
        assert not torch.allclose(maps[one], maps[other], atol=0)
    assert max(each.max() for each in maps) > 0
    with torch.no_grad():
        answer = model(**inputs).logits.argmax(-1)
    for i, heat in enumerate(model.relevance(**inputs)):
        torch.testing.assert_close(heat, maps[answer[i]][i])
    torch.manual_seed(1)
    other = FaceSleuthForVideoClassification(model.config).eval()
    assert not torch.allclose(other.relevance(1, **inputs), maps[1], atol=0)
    assert all(p.grad is None for p in model.parameters()) and not model.training
    with torch.inference_mode():
        torch.testing.assert_close(model.relevance(1, **inputs), maps[1])


@every_kind
@pytest.mark.parametrize("skip", [False, True])
def test_the_quick_copy_skips_the_same_batch_norms(kind, skip):
    model = spread_statistics(network(kind, skip_batch_norm_for_single_sample=skip))
    quick = optimize_for_inference(model)
    for count in (1, 3):
        inputs = inputs_of(count=count)
        with torch.inference_mode():
            torch.testing.assert_close(quick(**inputs).logits, model(**inputs).logits, rtol=1e-4, atol=1e-5)
