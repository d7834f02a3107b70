import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import mer_hf
from mer_hf.loading import load, name_of
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


def test_missing_tensors_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "lack 1 tensors" in refused(folder)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model_type": "bert", "auto_map": {}}, "'bert'; this package runs htnet"),
        ({"model_type": "bert"}, "code of its own for a model of type 'bert', which was not run"),
        ({"hidden_size": 64}, "another shape"),
        ({"hidden_size": "wide"}, "expected int, got str"),
        ({"patch_size": 5}, "image_size must be a multiple of patch_size"),
        ({"depths": [1, 1, 1]}, "tensors that its network has not"),
        ({"depths": [1, 1, 3]}, "lack"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(folder, change, words):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert words in refused(folder)


@pytest.mark.parametrize("name", ["no-such-model", "", "a b", "/no/such/folder", "./a/b/c", "-a/b c"])
def test_what_cannot_be_a_model_is_refused_without_asking_the_network(name, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", asked)
    assert "Bundled: " in refused(name)


@pytest.mark.parametrize("name", ["a/b@", "@v1", "a@v1", "a/b/c@v1", "a/b @v1"])
def test_a_revision_of_what_has_none_is_no_name(name, monkeypatch):
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


@pytest.mark.parametrize(
    "argv, orig_argv, expected",
    [
        (["/usr/bin/mer-hf", "--help"], ["python", "/usr/bin/mer-hf", "--help"], True),
        (["-m", "--help"], ["python", "-X", "dev", "-m", "mer_hf", "--help"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["train.py", "-m", "mer_hf"], ["python", "train.py", "-m", "mer_hf"], False),
        (["-c"], ["python", "-c", "import mer_hf"], False),
        ([""], ["python"], False),
        ([], ["embedded"], False),
    ],
)
def test_only_the_command_line_leaves_registration_to_later(argv, orig_argv, expected, monkeypatch):
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr("sys.orig_argv", orig_argv)
    assert mer_hf._is_the_command_line() is expected
