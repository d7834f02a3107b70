"""Original weight files become folders of ours, or are refused in one line."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification

from mer_hf.models.htnet.convert_htnet import convert
from tests.models.htnet.test_parity import (
    CASES,
    assert_within_tolerance,
    original_weights,
    pixel_values_of,
    stored_tensors,
)

# What the shapes do not show (the published values are assumed).
NEEDED = {
    "small_one_token": {"num_attention_heads": 4},
    "four_tokens": {},
    "two_levels_49_tokens": {"num_channels": 2},
}


def save(content, folder):
    path = folder / "subject.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", NEEDED)
def test_a_converted_file_gives_the_outputs_of_the_original(name, tmp_path):
    notes = convert(save(original_weights(name), tmp_path), tmp_path / "out", NEEDED[name])
    assert "were read from the weights" in notes[0]
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
    for case in (c for c in CASES["cases"] if c["config"] == name):
        assert_within_tolerance(stored_tensors(model, pixel_values_of(case)), case)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "subject.pth"]


def test_the_processor_of_a_converted_file_is_the_original_one(tmp_path):
    convert(save(original_weights("four_tokens"), tmp_path), tmp_path / "out")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert (processor.size, processor.mosaic, processor.normalization) == (56, "original", "none")


def test_no_processor_is_written_that_could_not_feed_the_model(tmp_path):
    weights = original_weights("two_levels_49_tokens")
    notes = convert(save(weights, tmp_path), tmp_path / "out", {"num_channels": 2})
    assert not (tmp_path / "out" / "preprocessor_config.json").exists()
    assert any("No processor" in note for note in notes)


def test_what_was_assumed_is_said(tmp_path):
    path = save(original_weights("four_tokens"), tmp_path)
    notes = " ".join(convert(path, tmp_path / "out", {"patch_size": 7}))
    assert "The weights do not show num_attention_heads=3, num_channels=3, image_size=56;" in notes
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}, "num_attention_heads": 3}
    convert(path, tmp_path / "named", labels)
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "named")
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


def test_wrapped_checkpoints_are_unwrapped(tmp_path):
    weights = {f"module.{name}": tensor for name, tensor in original_weights("four_tokens").items()}
    wrapped = {"model": weights, "epoch": 3, "args": argparse.Namespace(lr=5e-5)}
    convert(save(wrapped, tmp_path), tmp_path / "out")
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "out")
    expected = original_weights("four_tokens")["mlp_head.2.weight"]
    np.testing.assert_array_equal(model.classifier.weight.detach().numpy(), expected.numpy())


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path):
    marker = str(tmp_path / "was_run")
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"model": original_weights("four_tokens"), "extra": Payload(marker)}, tmp_path / "bad.pth")
        with pytest.raises(ValueError, match="is refused") as error:
            convert(tmp_path / "bad.pth", tmp_path / "out")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "was_run").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, given, message",
    [
        (
            lambda w: w,
            {"num_attention_heads": 5},
            r"size mismatch for .*attention.qkv.weight: .*Size\(\[72, 24\]\).* with --config",
        ),
        (lambda w: w, {"patch_size": 14}, "size mismatch for htnet.embeddings.projection.weight"),
        (
            lambda w: w,
            {"image_size": 28},
            "size mismatch for htnet.hierarchies.0.position_embedding",
        ),
        (lambda w: w, {"image_size": 30}, "image_size=30 and patch_size=7"),
        (lambda w: w, {"hidden_size": 32}, "hidden_size=32 contradicts the weights.*hidden_size=24"),
        (lambda w: w, {"num_labels": 5}, "num_labels=5 contradicts"),
        (lambda w: w, {"heads": 3}, "HTNetConfig has no field 'heads'"),
        (lambda w: w, {"image_size": "56"}, "image_size"),
        (
            lambda w: {**w, "extra.weight": torch.zeros(1)},
            {},
            "extra.weight is not a name of the original HTNet",
        ),
        (lambda w: {k: v for k, v in w.items() if k != "mlp_head.2.bias"}, {}, 'Missing.* "classifier.bias"'),
        (
            lambda w: {k: v for k, v in w.items() if not k.startswith("to_patch")},
            {},
            "to_patch_embedding.1.weight is",
        ),
        (lambda w: {**w, "mlp_head.0.g": torch.ones(1, 7, 1, 1)}, {}, "size mismatch for htnet.norm.weight"),
        (lambda w: {"lr": 0.1}, {}, "'lr' is a float"),
        (lambda w: [1, 2], {}, "does not hold a state dict: 'its content' is a list"),
        (lambda w: {}, {}, "does not hold a state dict: 'its content' is a dict"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, given, message, tmp_path):
    path = save(change(original_weights("four_tokens")), tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        convert(path, tmp_path / "out", given)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken", b"\x80\x04K\x01."])
def test_files_that_are_no_checkpoint_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pth") as error:
        convert(tmp_path / "x.pth", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_full_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        convert(tmp_path / "missing.pth", tmp_path / "out")
    path = save(original_weights("four_tokens"), tmp_path)
    with pytest.raises(ValueError, match="is not an empty folder"):
        convert(path, tmp_path)
    (tmp_path / "empty").mkdir()
    convert(path, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_a_conversion_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    path = save(original_weights("four_tokens"), tmp_path)
    monkeypatch.setattr(
        "mer_hf.models.htnet.image_processing_htnet.HTNetImageProcessor.save_pretrained", fail
    )
    with pytest.raises(OSError, match="no space"):
        convert(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]
