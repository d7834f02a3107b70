"""Models from the Hub on the page: looked at before they are downloaded, with a real client and real HTTP."""

import json
import os
import shutil
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

# Gets each model and prints its name, or why it was refused, and how many weights were downloaded meanwhile.
GET = """
import json, os, sys
from pathlib import Path
from page.networks import Networks
networks, told = Networks("cpu", most_hub_bytes=int(sys.argv[1])), []
for model in sys.argv[2:]:
    before = set(Path(os.environ["HF_HOME"]).rglob("*.safetensors"))
    try:
        said = networks.get(model).name
    except ValueError as error:
        said = f"refused: {error}"
    new = set(Path(os.environ["HF_HOME"]).rglob("*.safetensors")) - before
    told.append([said, len(new)])
json.dump(told, sys.stdout)
"""

REFUSALS = {
    "me/bert": "type 'bert'; this page runs htnet",
    "me/pickle": "no safetensors",
    "me/wide": "the number 1e+06; the limit is 4096",
    "me/private": "me/private could not be downloaded",
    "me/empty": "no valid config.json",
    "me/heavy": "MB; at most",
    "me/none": "there is no model me/none",
    "me/bert@no-such": "has no revision no-such",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on loopback, and a function that puts a small HTNet there, changed."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    tiny_model("htnet").save_pretrained(tmp_path / "tiny")
    tiny_processor("htnet").save_pretrained(tmp_path / "tiny")
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")

        def put(name, config=None, private=False, without=(), add=None):
            folder = shutil.copytree(tmp_path / "tiny", tmp_path / "repositories" / name)
            if config:
                settings = json.loads((folder / "config.json").read_text())
                (folder / "config.json").write_text(json.dumps(settings | config))
            for file in without:
                (folder / file).unlink()
            for file, content in (add or {}).items():
                (folder / file).write_bytes(content)
            api.create_repo(f"me/{name}", private=private)
            api.upload_folder(repo_id=f"me/{name}", folder_path=folder)
            return folder

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


def test_a_model_is_loaded_without_its_code_and_what_may_not_be_is_refused_before_its_weights(tmp_path, hub):
    url, put = hub
    put("tiny", add={"evil.py": b"raise SystemExit('code ran')"})
    put("bert", config={"model_type": "bert"})
    put("pickle", without=["model.safetensors"], add={"pytorch_model.bin": b"x"})
    put("wide", config={"hidden_size": 1_000_000})
    put("private", private=True)
    put("empty", without=["config.json"])
    put("heavy", add={"config.json": b" " * 30_000})
    first, bundled, again, *refused = get(
        tmp_path, url, "me/tiny", "htnet", "me/tiny", *REFUSALS, HF_TOKEN="x"
    )
    assert first[0].startswith("me/tiny@") and first[1] == 1
    assert bundled == ["htnet-synthetic", 0] and again == [first[0], 0]
    assert not list((tmp_path / "home").rglob("*.py"))
    for (said, downloaded), words in zip(refused, REFUSALS.values(), strict=True):
        assert said.startswith("refused: ") and words in said and not downloaded, said
        assert "\n" not in said and str(tmp_path) not in said and "auth login" not in said, said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"config.json": "no JSON"}, "no valid config.json"),
        ({"config.json": "[1]"}, "no valid config.json"),
        ({"preprocessor_config.json": '{"size": 1}'}, "no valid config.json"),
        ({"config.json": '{"model_type": ["htnet"]}'}, "this page runs htnet"),
        ({"config.json": '{"model_type": "htnet", "depths": [1, [2, -5000]]}'}, "number 5000; the limit is"),
        ({"config.json": '{"model_type": "htnet", "eps": Infinity}'}, "the number inf"),
        ({"config.json": '{"model_type": "htnet", "eps": NaN}'}, "the number nan"),
        (
            {"config.json": '{"model_type": "htnet"}', "preprocessor_config.json": '{"size": 100000}'},
            "the number 100000",
        ),
    ],
)
def test_settings_that_could_take_all_memory_are_refused(tmp_path, settings, words):
    from page.networks import _check_settings

    for name, text in settings.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        _check_settings("me/model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mmnet", "size": 4096, "big": "9999999"}')
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    _check_settings("me/model", tmp_path)


@pytest.mark.slow
def test_a_large_model_is_refused_by_its_size_alone(tmp_path, hub):
    url, put = hub
    folder = put("tiny")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    ((said, downloaded),) = get(tmp_path, url, "me/tiny", most_bytes=size - 1)
    assert "MB; at most" in said and not downloaded
    ((said, downloaded),) = get(tmp_path, url, "me/tiny", most_bytes=size)
    assert said.startswith("me/tiny@") and downloaded == 1


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, hub):
    url, put = hub
    weights = load_file(tmp_path / "tiny" / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, tmp_path / "tiny" / "model.safetensors", {"format": "pt"})
    put("partial")
    ((said, _),) = get(tmp_path, url, "me/partial")
    assert "no model could be loaded from me/partial@" in said and str(tmp_path) not in said
    assert "\n" not in said
