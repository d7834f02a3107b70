import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from mer_hf.cli import main
from mer_hf.hub import onnx_export
from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES

CLEAN = """
import json, sys, numpy, onnxruntime
facts = json.load(open(sys.argv[1] + "/onnx.json"))
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
inputs = {name: numpy.zeros([3, *shape[1:]], numpy.float32) for name, shape in facts["inputs"].items()}
print(session.run(None, inputs)[0].shape, sorted(facts["classes"].values()), "torch" in sys.modules)
"""


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(onnx_export, "SAMPLES", 4)


@pytest.mark.parametrize(
    "key", [key if key == "mmnet" else pytest.param(key, marks=pytest.mark.slow) for key in ARCHITECTURES]
)
def test_a_clean_process_reads_what_was_exported(key, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(["export", key, "--onnx", str(folder), "--int8"]) == 0
    assert "model.onnx" in (said := capsys.readouterr().out) and "model_int8.onnx" in said
    shown = subprocess.run(
        [sys.executable, "-c", CLEAN, folder], capture_output=True, text=True, check=True
    ).stdout
    assert shown == "(3, 3) ['negative', 'positive', 'surprise'] False\n"
    model, processor = load(key)
    inputs = onnx_export.synthetic_inputs(processor, 3)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(**inputs).logits.numpy(), atol=1e-4)
    assert str(onnx_export.__file__).encode() not in (folder / "model.onnx").read_bytes()
    assert b"stack_trace" not in (folder / "model.onnx").read_bytes()
    kept = {"preprocessor_config.json", "config.json", "calibration.json", "README.md"}
    assert kept <= {path.name for path in folder.iterdir()}
    facts = json.loads((folder / "onnx.json").read_text())
    assert facts["compared"]["model_int8.onnx"]["megabytes"] < facts["compared"]["model.onnx"]["megabytes"]


def test_a_network_that_answers_otherwise_is_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "compare", lambda *_: {"largest_difference": 0.5, "same_class": 1.0})
    monkeypatch.setattr(onnx_export, "_write", lambda model, inputs, path: path.write_bytes(b"x"))
    assert main(["export", "htnet", "--onnx", str(tmp_path / "out")]) == 2
    assert "off by 0.5 in its logits, so nothing was written" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path, capsys):
    (tmp_path / "note").write_text("kept")
    assert main(["export", "htnet", "--onnx", str(tmp_path)]) == 2
    assert f"{tmp_path} exists. Name a folder that does not." in capsys.readouterr().err
    assert main(["export", "htnet", "--onnx", str(tmp_path / "no" / "out")]) == 2
    assert "does not exist. Make it first." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_missing_packages_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "htnet", "--onnx", str(tmp_path / "out")]) == 2
    assert "pip install 'mer_hf[onnx]'" in capsys.readouterr().err
