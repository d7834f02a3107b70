"""Models of the Hub on the page: looked at before they are downloaded, with a real client and real HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from safetensors.torch import load_file, save_file

from tests.hub.clean import environment
from tests.hub.hub_server import serve
from tests.models.tiny import tiny_model, tiny_processor

SPACE = Path(__file__).parents[2] / "space"

# Gets each model and tells its name, or why it was refused, and which weights were downloaded meanwhile.
GET = """
import json, os, sys
from pathlib import Path
from page.networks import Networks, Refusal
networks, told = Networks("cpu", most_hub_bytes=int(sys.argv[1])), []
for model in sys.argv[2:]:
    before = set(Path(os.environ["HF_HOME"]).rglob("*.safetensors"))
    try:
        said = networks.get(model).name
    except Refusal as refusal:
        said = f"refused: {refusal}"
    new = set(Path(os.environ["HF_HOME"]).rglob("*.safetensors")) - before
    told.append([said, len(new)])
json.dump([told, sorted(networks._held), [each.repo_id for each in networks._fetched]], sys.stdout)
"""


@pytest.fixture(autouse=True)
def quick_uploads(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(tmp_path):
    """A Hub on loopback, and a function that puts a small HTNet there, changed."""
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")

        def put(name, config=None, private=False, leave_out=(), add=None):
            folder = tmp_path / name
            tiny_model("htnet").save_pretrained(folder)
            tiny_processor("htnet").save_pretrained(folder)
            if config:
                found = json.loads((folder / "config.json").read_text())
                (folder / "config.json").write_text(json.dumps(found | config))
            for each in leave_out:
                (folder / each).unlink()
            for each, content in (add or {}).items():
                (folder / each).write_bytes(content)
            api.create_repo(f"me/{name}", private=private)
            api.upload_folder(repo_id=f"me/{name}", folder_path=folder)

        yield url, put


def get(tmp_path, url, *models, most_bytes=10_000_000, **more):
    kept = environment(url, tmp_path / "home", **more)
    kept["PYTHONPATH"] = os.pathsep.join([str(SPACE), kept["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", GET, str(most_bytes), *models],
        cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_model_of_the_hub_takes_the_place_of_its_architectures(tmp_path, hub):
    url, put = hub
    put("tiny", add={"evil.py": b"raise SystemExit('code ran')"})
    (first, bundled, again), held, fetched = get(tmp_path, url, "me/tiny", "htnet", "me/tiny@main")
    assert first[0].startswith("me/tiny@") and first[1] == 1
    assert bundled == ["htnet-synthetic", 0] and again == [first[0], 0]
    assert held == ["htnet"] and fetched == ["me/tiny"]
    assert not list((tmp_path / "home").rglob("*.py"))


def test_what_may_not_be_loaded_is_refused_before_its_weights_are_downloaded(tmp_path, hub):
    url, put = hub
    put("bert", config={"model_type": "bert"})
    put("pickle", leave_out=["model.safetensors"], add={"pytorch_model.bin": b"x"})
    put("wide", config={"hidden_size": 1_000_000})
    put("private", private=True)
    put("settings", add={"preprocessor_config.json": b'{"face_geometry": {"size": 100000}}'})
    put("text", add={"config.json": b"no JSON"})
    put("list", add={"config.json": b"[1]"})
    put("empty", leave_out=["config.json"])
    put("heavy", add={"train_config.json": b" " * 300_000})
    names = ["bert", "pickle", "wide", "private", "settings", "text", "list", "empty", "heavy", "none"]
    found, held, _ = get(tmp_path, url, *(f"me/{name}" for name in names), "me/bert@no-such", HF_TOKEN="x")
    words = [
        "type 'bert'; this page runs htnet",
        "holds no safetensors",
        "the number 1e+06; at most 4096",
        "no public model me/private",
        "the number 100000",
        "config.json is damaged",
        "type 'None'",
        "holds no config.json",
        "train_config.json has 300,000 bytes",
        "no public model me/none",
        "no such revision",
    ]
    for (said, downloaded), expected in zip(found, words, strict=True):
        assert said.startswith("refused: ") and expected in said and not downloaded, said
    assert not held


@pytest.mark.slow
def test_a_large_model_is_refused_by_its_size_alone(tmp_path, hub):
    url, put = hub
    put("tiny")
    files = (path for path in (tmp_path / "tiny").iterdir() if path.suffix in (".json", ".safetensors"))
    size = sum(path.stat().st_size for path in files)
    ((said, downloaded),), _, _ = get(tmp_path, url, "me/tiny", most_bytes=size - 1)
    assert "MB; at most" in said and "are downloaded here" in said and not downloaded
    ((said, downloaded),), _, _ = get(tmp_path, url, "me/tiny", most_bytes=size)
    assert said.startswith("me/tiny@") and downloaded == 1


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, hub):
    url, put = hub
    put("tiny")
    weights = load_file(tmp_path / "tiny" / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, tmp_path / "tiny" / "model.safetensors", {"format": "pt"})
    HfApi(endpoint=url, token="x").upload_file(
        repo_id="me/tiny",
        path_or_fileobj=tmp_path / "tiny" / "model.safetensors",
        path_in_repo="model.safetensors",
    )
    ((said, _),), _, _ = get(tmp_path, url, "me/tiny")
    assert "could not be loaded: the checkpoint lacks 1 tensors" in said and str(tmp_path) not in said


@pytest.mark.slow
def test_only_the_last_few_downloads_stay_on_the_disk(tmp_path, hub):
    url, put = hub
    names = [f"tiny{number}" for number in range(6)]
    for name in names:
        put(name)
    _, _, fetched = get(tmp_path, url, *(f"me/{name}" for name in names))
    assert fetched == [f"me/{name}" for name in names[1:]]
    assert len(list((tmp_path / "home").rglob("*.safetensors"))) == 5
