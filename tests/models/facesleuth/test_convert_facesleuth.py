"""FaceSleuth's converter: what it reads, what it drops, what it refuses."""

import pytest
import torch

from benchmarks.baseline.facesleuth import FaceSleuthBaseline
from mer_hf.loading import load
from mer_hf.models.facesleuth import FaceSleuthConfig, FaceSleuthImageProcessor
from mer_hf.models.facesleuth.convert_facesleuth import convert, dead, read_config, rename
from tests.fixtures import parity
from tests.models.tiny import TINY, tiny_inputs

KINDS = ("cva", "soa", "coordinate", "ca")
SHAPES = parity.load("facesleuth").shapes


def original(kind: str, **fields):
    """A small base line, which has the original's names."""
    torch.manual_seed(0)
    config = FaceSleuthConfig(**TINY["facesleuth"].config | {"attention_type": kind} | fields)
    fields = {name: getattr(config, name) for name in FaceSleuthConfig.__annotations__}
    return FaceSleuthBaseline(**fields, num_labels=5).eval()


@pytest.mark.parametrize("units", [21, 5, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_converted_weights_give_the_original_s_logits(kind, units, tmp_path):
    model = original(kind, num_action_units=units)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
    torch.save(model.state_dict(), tmp_path / "original.pth")
    notes = convert(tmp_path / "original.pth", tmp_path / "out", {"attention_type": kind})
    loaded, processor = load(tmp_path / "out")
    assert (loaded.config.attention_type, loaded.config.num_action_units) == (kind, units)
    assert any("action_unit_names" in note for note in notes) == (units == 5)
    assert len(processor.action_unit_names) == (0 if units == 0 else 21)
    inputs = {"pixel_values": tiny_inputs("facesleuth")["pixel_values"]}
    if units:
        inputs["action_units"] = (torch.rand(2, units) < 0.3).float()
    with torch.no_grad():
        for batch in (1, 2):
            part = {name: tensor[:batch] for name, tensor in inputs.items()}
            torch.testing.assert_close(loaded(**part).logits, model(**part), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_dropped_of_the_original_and_what_is_read(name):
    kind = name.removesuffix("_3")
    state = {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for key, (shape, dtype) in SHAPES[name].items()
    }
    given = {"attention_type": kind} if kind == "coordinate" else {}
    dropped = dead(state, **given)
    assert {"timeembed", "head.1.weight", "pos.0.weight", "swin_pos_224.head.weight"} <= set(dropped)
    assert ("main_branch.MLP1.weight" in dropped) == (kind != "ca")
    assert ("main_branch.layer1.0.conv_w.weight" in dropped) == (kind == "cva")
    assert not [each for each in rename(state, **given) if "relative_position_index" in each]
    config, notes = read_config(state, given)
    published = FaceSleuthConfig(
        attention_type=kind,
        num_action_units=0 if kind == "ca" else 21,
        **({"id2label": {i: str(i) for i in range(3)}} if name.endswith("_3") else {}),
    )
    fields = list(FaceSleuthConfig.__annotations__)
    assert {f: getattr(config, f) for f in fields} == {f: getattr(published, f) for f in fields}
    assert config.num_labels == published.num_labels
    assert any("attention_type=cva" in note and "do not show" in note for note in notes) == (kind == "cva")


def test_a_kind_that_the_names_do_not_show_is_refused():
    state = original("soa").state_dict()
    with pytest.raises(
        ValueError, match="attention_type='cva' contradicts the weights, whose names show 'soa'"
    ):
        read_config(state, {"attention_type": "cva"})


def test_widths_inside_the_gates_are_read_from_the_shapes():
    cases = {("cva", 2): 2, ("soa", 2): 2, ("soa", 5): 5, ("coordinate", 8): 32}  # 8 is the least width
    for (kind, divisor), found in cases.items():
        state = original(kind, attention_reduction=divisor).state_dict()
        given = {"attention_type": kind}
        assert read_config(state, given)[0].attention_reduction == found
        given["attention_reduction"] = divisor
        assert read_config(state, given)[0].attention_reduction == divisor


def test_processor_of_the_converted_network_has_its_size(tmp_path):
    torch.save(original("soa").state_dict(), tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "out")
    assert FaceSleuthImageProcessor.from_pretrained(tmp_path / "out").size == 64
