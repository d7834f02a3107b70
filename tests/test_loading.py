import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

import mer_hf
from mer_hf.loading import load, name_of, snapshot
from tests.models.tiny import tiny_model, tiny_processor


@pytest.fixture
def folder(tmp_path):
    tiny_model("htnet").save_pretrained(tmp_path)
    tiny_processor("htnet").save_pretrained(tmp_path)
    return tmp_path


def refused(name) -> str:
    with pytest.raises(ValueError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert str(name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
@pytest.mark.parametrize("kept", [None, 0.0, 0.5], ids=["missing", "empty", "cut short"])
def test_a_damaged_folder_is_refused_in_one_line(folder, file, kept):
    content = (folder / file).read_bytes()
    if kept is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content[: int(kept * len(content))])
    refused(folder)


def test_missing_tensors_are_not_initialized(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "lacks 1 tensors of the network in config.json, such as classifier.weight" in refused(folder)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model_type": "bert", "auto_map": {}}, "'bert'; this package runs htnet"),
        ({"model_type": "bert"}, "its own code for a model of type 'bert', which was not run"),
        ({"hidden_size": 64}, "another shape"),
        ({"hidden_size": "wide"}, "hidden_size must be int, got 'wide'"),
        ({"patch_size": 5}, "image_size must be a multiple of patch_size"),
        ({"depths": [1, 1, 1]}, "unexpected tensors, such as"),
        ({"depths": [1, 1, 3]}, "the checkpoint lacks"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(folder, change, words):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert words in refused(folder)


def test_weights_are_compared_by_their_header_before_a_network_takes_memory(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2048}))
    network = "mer_hf.models.htnet.HTNetForVideoClassification"
    monkeypatch.setattr(f"{network}.from_pretrained", lambda *_, **__: 1 / 0)
    assert "has another shape or type for" in refused(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_tensor_that_holds_no_number_is_named(folder, number):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][1] = number
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "its tensor classifier.bias holds NaN or infinity" in refused(folder)


def test_inputs_of_another_size_than_the_network_takes_are_refused(folder):
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"size": 56}))
    assert "the inputs do not fit the network: size 56" in refused(folder)


@pytest.mark.parametrize("name", ["no-such-model", "", "a b", "/no/such/folder", "./a/b/c", "-a/b c"])
def test_a_name_that_cannot_be_a_model_is_refused_without_asking_the_network(name, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", asked)
    assert "Bundled: " in refused(name)


@pytest.mark.parametrize("name", ["a/b@", "@v1", "a@v1", "a/b/c@v1", "a/b @v1"])
def test_a_revision_without_a_repository_is_not_a_name(name, monkeypatch):
    monkeypatch.setattr("mer_hf.loading.snapshot", lambda *_: pytest.fail("the network was asked"))
    assert "owner/name@revision" in refused(name)


def test_a_revision_is_for_a_repository_and_is_named_once(folder, monkeypatch):
    for name in (folder, "htnet", "htnet-synthetic"):
        with pytest.raises(ValueError, match="has no revisions: only a Hub repository"):
            load(name, revision="v1")
    with pytest.raises(ValueError, match="me/tiny@v1 and revision=v2 name two revisions"):
        load("me/tiny@v1", revision="v2")
    asked = []
    monkeypatch.setattr("mer_hf.loading.snapshot", lambda *given: asked.append(given) or folder)
    load("me/tiny@refs/pr/1")
    load("me/tiny", revision="v2", trust_remote_code=True)
    load("me/tiny")
    assert asked == [("me/tiny", "refs/pr/1", False), ("me/tiny", "v2", True), ("me/tiny", None, False)]


def test_a_model_says_which_weights_it_holds(folder, tmp_path):
    assert name_of(load("htnet")[0]) == "htnet-synthetic"
    assert name_of(load(folder)[0]) == str(folder)
    commit = "0123456789" * 4
    place = tmp_path / "models--me--tiny" / "snapshots" / commit
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("models--*"))
    assert name_of(load(place)[0]) == f"me/tiny@{commit}"


@pytest.mark.parametrize("trusted", [False, True])
def test_weights_that_are_a_pickle_are_refused_in_any_case(folder, trusted):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds pytorch_model\.bin and no safetensors"):
        load(folder, trust_remote_code=trusted)


def test_trusted_code_that_lies_elsewhere_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = "you/other--configuration_other.Config"
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "other"}))
    with pytest.raises(ValueError, match="lies in another repository"):
        load(folder, trust_remote_code=True)


def test_a_folder_without_a_model_is_refused(tmp_path):
    assert "no config.json" in refused(tmp_path)


def test_bundled_is_offered_by_the_package():
    with pytest.raises(ValueError, match="no bundled checkpoint is called 'none'"):
        mer_hf.bundled("none")
    with pytest.raises(AttributeError, match="no_such_thing"):
        mer_hf.no_such_thing  # noqa: B018


AUTO_CLASSES = {  # AutoVideoProcessor is not offered at the top where torchvision is missing
    "AutoConfig": "AutoConfig.for_model('htnet')",
    "AutoModel": "AutoModel.from_config(HTNetConfig())",
    "AutoModelForVideoClassification": "AutoModelForVideoClassification.from_config(HTNetConfig())",
    "AutoImageProcessor": "AutoImageProcessor.from_pretrained(folder)",
    "AutoVideoProcessor": "AutoVideoProcessor.from_pretrained(folder)",
    "pipeline": "pipeline('micro-expression-recognition', model=folder)",
}


@pytest.mark.slow
@pytest.mark.parametrize("first", ["mer_hf", "transformers"])
@pytest.mark.parametrize("name", AUTO_CLASSES)
def test_each_auto_class_knows_ours_whichever_is_imported_first(name, first):
    """In a process of its own, and without any other Auto class asked for before."""
    home = (
        "transformers.models.auto.video_processing_auto" if name == "AutoVideoProcessor" else "transformers"
    )
    imports = ["import mer_hf", f"from {home} import {name}"]
    code = [
        *(imports if first == "mer_hf" else reversed(imports)),
        f"folder = {str(mer_hf.bundled('htnet-synthetic'))!r}",
        "from mer_hf.models.htnet.configuration_htnet import HTNetConfig",
        f"print(type({AUTO_CLASSES[name]}).__module__)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True)
    assert done.stdout.startswith("mer_hf."), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    ["transformers.modeling_layers", "transformers.models.swin.modeling_swin", "transformers.trainer",
     "mer_hf.models.htnet.modeling_htnet", "mer_hf.models.hsta.video_processing_hsta", "mer_hf.registry"],
)  # fmt: skip
def test_any_module_may_be_the_first(first):
    """Modules of transformers import each other in circles, and Auto classes in the midst of that."""
    code = f"import mer_hf, {first}, transformers; config = transformers.AutoConfig.for_model('htnet'); "
    code += "print(type(transformers.AutoModel.from_config(config)).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "HTNetModel\n", done.stderr


def test_the_import_loads_nothing_heavy():
    code = "import sys, mer_hf; print({'torch', 'transformers', 'numpy', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


COMMIT = "0123456789" * 4


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A commit's place in the cache, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "models--me--net"
    cached = place / "snapshots" / COMMIT
    cached.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    (cached / "config.json").write_text("{}")
    return cached


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_settings_without_weights_are_not_a_checkpoint(cached, revision):
    with pytest.raises(ValueError, match=r"me/net.* is not \(or not completely\) in the cache"):
        snapshot("me/net", revision)
    (cached / "model.safetensors").write_bytes(b"x")
    assert snapshot("me/net", revision) == cached


def test_weights_without_settings_are_not_a_checkpoint(cached):
    (cached / "config.json").unlink()
    (cached / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="not completely"):
        snapshot("me/net")


class OneRepository:
    """A client whose Hub has one repository; it notes what is downloaded."""

    endpoint = "http://hub"

    def __init__(self, **sizes):
        self.sizes, self.downloaded = sizes, None

    def model_info(self, repo_id, **options):
        assert options["files_metadata"] and options["timeout"] > 0
        files = [SimpleNamespace(rfilename=name, size=size) for name, size in self.sizes.items()]
        return SimpleNamespace(siblings=files)

    def snapshot_download(self, repo_id, revision, allow_patterns, local_files_only=False, **_):
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        self.downloaded = set(allow_patterns)
        return f"/cache/{repo_id}"


FILES = {
    "config.json": 10, "model.safetensors": 90, "modeling_x.py": 5, "x.bin": 10_000,
    "folds/a/model.safetensors": 90, "folds/a/b/config.json": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"config.json", "model.safetensors"}),
        ({"code": True}, {"config.json", "model.safetensors", "modeling_x.py"}),
        ({"patterns": ("config.json", "folds/*/*")}, {"config.json", "folds/a/model.safetensors"}),
    ],
)
def test_a_snapshot_holds_only_the_chosen_files(options, expected):
    api = OneRepository(**FILES)
    assert snapshot("me/net", api=api, **options) == Path("/cache/me/net")
    assert api.downloaded == expected


def test_a_repository_above_the_limit_is_refused_before_anything_is_downloaded(cached):
    (cached / "model.safetensors").write_bytes(b"x")  # with a limit the cache is not enough
    api = OneRepository(**FILES | {"config.json": 5_000_000})
    for revision in (None, COMMIT):
        with pytest.raises(ValueError, match=r"me/net.* has 5 MB; at most 1 MB are downloaded\.$"):
            snapshot("me/net", revision, max_bytes=1_000_000, api=api)
    assert api.downloaded is None
    snapshot("me/net", max_bytes=5_000_090, api=api)
    assert api.downloaded == {"config.json", "model.safetensors"}
    with pytest.raises(ValueError, match=r"^HF_HUB_OFFLINE is set\.$"):
        snapshot("me/net", max_bytes=100, api=HfApi(endpoint="http://127.0.0.1:9"))
