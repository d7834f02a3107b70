"""A saved folder runs as Hub code where this package cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_hf.models.saving import save_processors
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_clip, tiny_model, tiny_processor

SCRIPT = Path(__file__).with_name("stranger.py")


@pytest.fixture(scope="module")
def clean_process(tmp_path_factory):
    """The report of one process that loads a folder of every architecture, its arrays, and the folders."""
    scratch = tmp_path_factory.mktemp("remote")
    for key in ARCHITECTURES:
        tiny_model(key).save_pretrained(scratch / "saved" / key)
        save_processors(tiny_processor(key), scratch / "saved" / key)
    np.save(scratch / "clip.npy", tiny_clip())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HOME": str(scratch / "empty_cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SCRIPT), str(scratch / "saved"), "clip.npy", "found.npz"]
    run = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    with np.load(scratch / "found.npz") as arrays:
        return json.loads(run.stdout.splitlines()[-1]), dict(arrays), scratch / "saved"


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_hub_code_gives_the_same_answers_without_the_package(key, clean_process):
    report, arrays, saved = clean_process
    assert report["import_error"] == "No module named 'mer_hf'" and report["mer_hf_modules"] == []
    architecture = ARCHITECTURES[key]
    classes = ("config_class", "model_class", "classifier_class", "processor_class", "video_processor_class")
    assert report[key]["classes"] == [getattr(architecture, name).__name__ for name in classes]
    assert "pip install mer_hf" in report[key]["refusal"] and "aligned=True" in report[key]["refusal"]
    files = sorted(path.name for path in (saved / key).iterdir())
    assert report[key]["resaved"] == files
    assert not [name for name in files if name.startswith("convert_")], "converters stay in the package"

    model, processor = tiny_model(key), tiny_processor(key)
    inputs = processor(images=tiny_clip(), onset=0, apex=3, return_tensors="pt")
    with torch.no_grad():
        expected = {
            "pixel_values": inputs["pixel_values"].numpy(),
            "logits": model(**inputs).logits.numpy(),
            "pooled": model.base_model(**inputs).pooler_output.numpy(),
        }
    expected["heat"] = processor.to_face(model.relevance(target=1, **inputs))
    for name, array in expected.items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(arrays[f"{key}_{name}"], array, rtol=1e-5, atol=1e-5 * scale, err_msg=name)
