"""CONTRIBUTING.md says how to add an architecture: here one is added, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINYNET = ROOT / "tests" / "fixtures" / "tinynet"
SHARED = ("face_frames.py", "face_video.py")
ENTRY = """
ARCHITECTURES["tinynet"] = Architecture(
    "TinyNet",
    looks_at="the difference between onset and apex",
    relevance_by="bright regions carried the answer",
)
"""
TRIED = """
import sys
import mer_hf
from mer_hf.training.cli import main
from transformers import AutoModel, AutoModelForVideoClassification

flags = "--model tinynet --data synthetic --max-steps 2 --num-samples 8 --batch-size 4 --validation-samples 4"
assert main([*flags.split(), "--num-workers", "0", "--output-dir", "run"]) == 0
assert type(AutoModel.from_pretrained("run")).__name__ == "TinyNetModel"
model = AutoModelForVideoClassification.from_pretrained("run")
from mer_hf.hub.push import push
assert "tinynet" in push("run", "me/tiny", onnx=False, dry_run=True)
from mer_hf.synthetic.clips import Motion, render_clip
motion = Motion(activations={"AU12": (1.0, 1.0)}, peak_px=3.0)
clip = render_clip(motion, fps=30.0, duration_s=1.5, height=200, width=200, interocular_px=60, seed=1).clip
answer = mer_hf.MicroExpressionPipeline.from_pretrained("run")(clip)
print(answer.outcome, sorted(answer.scores))
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the package, its tests of networks and its card texts, with the architecture added."""
    ignored = shutil.ignore_patterns("__pycache__", "*-synthetic")
    for name in ("mer_hf", "tests/models", "hub_cards"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    folder = tmp_path / "mer_hf" / "models" / "tinynet"
    shutil.copytree(TINYNET, folder, ignore=ignored)
    for name in SHARED:
        shutil.copy(folder.parent / "mmnet" / name, folder)
    registry, loop = tmp_path / "mer_hf" / "registry.py", "for _architecture in"
    before, found, after = registry.read_text().partition(loop)
    registry.write_text(before + ENTRY + found + after)
    tiny = tmp_path / "tests" / "models" / "tiny.py"
    tiny.write_text(tiny.read_text() + '\nTINY["tinynet"] = Tiny(config={}, processor={})\n')
    (tmp_path / "hub_cards" / "tinynet.md").write_text("## about\nTinyNet.\n\n## limits\n- It is tiny.\n")
    return tmp_path


def python(house, *arguments):
    environment = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_added_architecture_trains_loads_predicts_and_is_published(house):
    done = python(house, "-c", TRIED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith("['negative', 'positive', 'surprise']")


@pytest.mark.slow
def test_an_added_architecture_keeps_the_contract(house):
    done = python(house, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_contract.py",
                  "-k", "tinynet")  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15


def test_the_recipe_names_every_file_that_the_test_adds():
    recipe = (ROOT / "CONTRIBUTING.md").read_text().partition("## To add an architecture")[2]
    for path in (*TINYNET.glob("*.py"), *map(Path, SHARED)):
        assert path.name.replace("tinynet", "<name>") in recipe, path.name
    for place in ("mer_hf/registry.py", "tests/models/tiny.py", "hub_cards/<name>.md"):
        assert place in recipe, place
