"""Models from the Hub on the page: looked at before they are downloaded, with a real client and real HTTP."""

import json
import shutil
import tempfile
from contextlib import nullcontext

import pytest
from huggingface_hub import HfApi, constants
from page import networks as networks_module
from page.networks import Networks, _settings_of
from safetensors.torch import load_file, save_file

from tests.hub.hub_server import serve
from tests.models.tiny import tiny_model, tiny_processor

REFUSALS = {
    "me/bert": "type 'bert'; this package runs htnet",
    "me/pickle": "no safetensors",
    "me/wide": "hidden_size must lie in 1 to 2048, got 1000000",
    "me/private": "me/private could not be downloaded",
    "me/empty": "lacks config.json",
    "me/heavy": "MB; at most",
    "me/none": "there is no model me/none",
    "me/bert@no-such": "has no revision no-such",
}


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that puts a small HTNet, changed, on a Hub on loopback, which the page asks."""
    cache = tmp_path / "cache"  # kept, so that a test sees what was downloaded
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(networks_module, "TemporaryDirectory", lambda prefix: nullcontext(cache))
    monkeypatch.setenv("HF_TOKEN", "x")  # of the page's owner, who may read more
    tiny_model("htnet").save_pretrained(tmp_path / "tiny")
    tiny_processor("htnet").save_pretrained(tmp_path / "tiny")
    with serve(tmp_path / "hub") as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        files = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        api = HfApi(endpoint=url, token="x")

        def upload(name, config=None, private=False, without=(), add=None):
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

        yield upload


def weights(tmp_path):
    return set((tmp_path / "cache").rglob("*.safetensors"))


def test_a_model_is_loaded_without_its_code_and_what_may_not_be_is_refused_before_its_weights(tmp_path, put):
    put("tiny", add={"evil.py": b"raise SystemExit('code ran')"})
    put("bert", config={"model_type": "bert"})
    put("pickle", without=["model.safetensors"], add={"pytorch_model.bin": b"x"})
    put("wide", config={"hidden_size": 1_000_000})
    put("private", private=True)
    put("empty", without=["config.json"])
    put("heavy", add={"config.json": b" " * 30_000})
    networks = Networks("cpu")
    network = networks.get("me/tiny")
    assert network.name.startswith("me/tiny@") and network.architecture == "htnet"
    assert networks.get("me/tiny") is network and networks.get("htnet").name == "htnet-synthetic"
    assert not list((tmp_path / "cache").rglob("*.py"))
    downloaded = weights(tmp_path)
    for name, words in REFUSALS.items():
        with pytest.raises(ValueError) as caught:
            networks.get(name)
        reason = str(caught.value)
        assert words in reason and "\n" not in reason
        assert str(tmp_path) not in reason and "auth login" not in reason
    assert len(downloaded) == 1 and weights(tmp_path) == downloaded


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"config.json": "no JSON"}, "is not valid JSON"),
        ({"config.json": "[1]"}, "must be dict"),
        ({"preprocessor_config.json": '{"size": 1}'}, "lacks config.json"),
        ({"config.json": '{"model_type": ["htnet"]}'}, "model_type must be str"),
        ({"config.json": '{"model_type": "htnet", "depths": [1, [2, -5000]]}'}, "depths must be"),
        ({"config.json": '{"model_type": "htnet", "eps": Infinity}'}, "Infinity is not a finite number"),
        ({"config.json": '{"model_type": "htnet", "eps": NaN}'}, "NaN is not a finite number"),
        (
            {"config.json": '{"model_type": "htnet"}', "preprocessor_config.json": '{"size": 100000}'},
            "size must lie in 1 to 448, got 100000",
        ),
    ],
)
def test_settings_that_could_take_all_memory_are_refused(tmp_path, settings, words):
    for name, text in settings.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        _settings_of("me/model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mmnet", "unknown": "9999999"}')
    (tmp_path / "preprocessor_config.json").write_text("{}")
    _settings_of("me/model", tmp_path)


def test_a_large_model_is_refused_by_its_size_alone(tmp_path, put):
    folder = put("tiny")
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    with pytest.raises(ValueError, match="MB; at most"):
        Networks("cpu", size - 1).get("me/tiny")
    assert not weights(tmp_path)
    assert Networks("cpu", size).get("me/tiny").name.startswith("me/tiny@")


def test_no_file_of_a_model_stays(tmp_path, put, monkeypatch):
    put("tiny")
    monkeypatch.setattr(networks_module, "TemporaryDirectory", tempfile.TemporaryDirectory)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert Networks("cpu").get("me/tiny").architecture == "htnet"
    assert not list((tmp_path / "temporary").iterdir())


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, put):
    tensors = load_file(tmp_path / "tiny" / "model.safetensors")
    tensors.pop("classifier.weight")
    save_file(tensors, tmp_path / "tiny" / "model.safetensors", {"format": "pt"})
    put("partial")
    with pytest.raises(ValueError, match="no model could be loaded from me/partial@") as caught:
        Networks("cpu").get("me/partial")
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
