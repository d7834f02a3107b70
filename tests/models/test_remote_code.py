"""A saved folder runs as Hub code where this package cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_clip, tiny_model, tiny_processor

SCRIPT = Path(__file__).with_name("stranger.py")


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_hub_code_gives_equal_logits_without_the_package(key, tmp_path):
    folder, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    elsewhere.mkdir()
    model, processor = tiny_model(key), tiny_processor(key)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    assert not list(folder.glob("convert_*")), "converters stay in the package"
    clip = tiny_clip()
    np.save(elsewhere / "clip.npy", clip)

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HOME": str(tmp_path / "empty_cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), "clip.npy", "found.npz"]
    run = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout.splitlines()[-1])

    architecture = ARCHITECTURES[key]
    assert report["import_error"] == "No module named 'mer_hf'"
    assert report["mer_hf_modules"] == []
    assert report["classes"] == [
        architecture.classifier_class.__name__,
        architecture.model_class.__name__,
        architecture.processor_class.__name__,
    ]
    assert report["resaved"] == sorted(path.name for path in folder.iterdir())

    inputs = processor(images=clip, onset=0, apex=3, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
        pooled = model.base_model(**inputs).pooler_output.numpy()
    heat = processor.to_face(model.relevance(target=1, **inputs))
    with np.load(elsewhere / "found.npz") as found:
        np.testing.assert_array_equal(found["pixel_values"], inputs["pixel_values"].numpy())
        np.testing.assert_array_equal(found["logits"], logits)
        np.testing.assert_array_equal(found["pooled"], pooled)
        np.testing.assert_array_equal(found["heat"], heat)
