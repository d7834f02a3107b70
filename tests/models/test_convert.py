"""Every converter, on a small network of its base line with random weights."""

import argparse
import importlib
import json
import pathlib

import pytest
import torch

from benchmarks.networks import base_line
from mer_hf.cli import main
from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import TINY, tiny_inputs

keys = pytest.mark.parametrize("key", ARCHITECTURES)


def original(key: str, **fields) -> torch.nn.Module:
    """A small base line, which has the original's names."""
    config = ARCHITECTURES[key].config_class(**TINY[key].config | fields)
    return base_line(key, config)


def flags(key: str) -> list[str]:
    """The fields that shapes do not show, and some that they do."""
    return [f"{name}={json.dumps(value)}" for name, value in TINY[key].config.items()]


@keys
def test_a_converted_checkpoint_gives_the_original_s_logits(key, tmp_path, capsys):
    model = original(key)
    # As training scripts leave it: beside other things, wrapped for several devices.
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "original.pth")
    arguments = ["convert", key, str(tmp_path / "original.pth"), str(tmp_path / "out"), "--config"]
    assert main(arguments + flags(key)) == 0
    assert "were read from" in capsys.readouterr().out
    loaded, _ = load(tmp_path / "out")
    inputs = tiny_inputs(key)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs), rtol=1e-4, atol=1e-5)


@keys
def test_what_has_no_effect_is_dropped_and_named(key, tmp_path):
    converter = importlib.import_module(ARCHITECTURES[key].convert_module)
    if not hasattr(converter, "dead"):
        pytest.skip("nothing of the original is without effect")
    state = original(key).state_dict()
    extra = {"timeembed": torch.ones(1, 4, 3, 3), "head.1.weight": torch.ones(38, 4)}
    found = converter.dead(state | extra)
    if not found:
        with pytest.raises(ValueError, match="is not a name of the original"):
            converter.rename(state | extra)
        return
    assert set(extra) <= set(found) and not set(converter.rename(state | extra)) & set(extra)
    torch.save(state | extra, tmp_path / "original.pth")
    notes = converter.convert(tmp_path / "original.pth", tmp_path / "out", TINY[key].config)
    assert any("timeembed" in note and "head.1.weight" in note for note in notes)


@keys
@pytest.mark.parametrize("damage", ["unknown name", "missing", "another network", "code", "taken folder"])
def test_a_file_that_will_not_do_is_refused_and_nothing_is_written(key, damage, tmp_path, capsys):
    state, out = original(key).state_dict(), tmp_path / "out"
    if damage == "unknown name":
        state["stranger.weight"] = torch.ones(1)
    elif damage == "missing":
        del state[next(name for name in reversed(state) if "weight" in name)]
    elif damage == "another network":
        state = {"conv.weight": torch.ones(1)}
    elif damage == "code":
        state = {"weight": pathlib.PurePosixPath("a")}
    elif damage == "taken folder":
        out.mkdir()
        (out / "mine.txt").write_text("kept")
    torch.save(state, tmp_path / "original.pth")
    assert main(["convert", key, str(tmp_path / "original.pth"), str(out), "--config", *flags(key)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mer-hf: error: ") and len(error.splitlines()) == 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"original.pth"} | ({"out"} if damage == "taken folder" else set())


@keys
def test_a_field_that_contradicts_the_shapes_is_refused(key, tmp_path, capsys):
    torch.save(original(key).state_dict(), tmp_path / "original.pth")
    arguments = ["convert", key, str(tmp_path / "original.pth"), str(tmp_path / "out")]
    assert main([*arguments, "--config", "num_labels=9"]) == 2
    assert "contradicts the weights" in capsys.readouterr().err and not (tmp_path / "out").exists()
