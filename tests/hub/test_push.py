import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.responses import JSONResponse
from huggingface_hub import HfApi, constants
from PIL import Image
from safetensors.torch import load_file, save_file

from mer_hf.cli import main
from mer_hf.hub import onnx_export
from mer_hf.hub import push as push_module
from mer_hf.hub.folder import (
    assemble,
    check,
    code_files,
    example_clips,
    logits_in_clean_process,
    logits_of,
    read_source,
)
from mer_hf.hub.push import push
from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES
from mer_hf.utils.provenance import sha256_of
from tests.hub.test_onnx_export import CLEAN as ONNX_ALONE
from tests.models.tiny import tiny_model, tiny_processor


def saved(folder, key="htnet", **options):
    """A checkpoint's folder as a run leaves it."""
    tiny_model(key).save_pretrained(folder, **options)
    processor = tiny_processor(key)
    if key == "htnet":
        processor.flow_method = "dis"  # the quicker one
    processor.save_pretrained(folder)
    (folder / "train_config.json").write_text(json.dumps({"data": "synthetic", "seed": 0}))
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return saved(tmp_path / "checkpoint")


@pytest.mark.slow  # tests/models/test_remote_code.py does the same in a clean process, without a Hub
def test_pushed_checkpoints_and_folds_load_without_the_package(ended, tmp_path, hub, quick):
    loaded, repositories = [], []
    with hub() as url:
        for key in ARCHITECTURES:
            folder = saved(tmp_path / key, key)
            assert push(folder, f"me/{key}", revision="v1").startswith(f"{url}/me/{key}/commit/")
            loaded.append(load(folder))
            clips = example_clips(loaded[-1][1])
            repositories.append((f"me/{key}", clips, {"revision": "v1"}))
            code = {path.name for path in code_files(ARCHITECTURES[key])}
            assert set(HfApi().list_repo_files(f"me/{key}")) == code | SETTINGS
        push(ended / "run", "me/run")
        loaded.append(load(ended / "run/folds/seed1-a-s0"))
        clips = example_clips(loaded[-1][1])
        repositories.append(("me/run", clips, {"subfolder": "folds/seed1-a-s0"}))
        online = {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        found = logits_in_clean_process(repositories, **online)
    for (name, clips, _), logits, (model, processor) in zip(repositories, found, loaded, strict=True):
        expected = logits_of(model, processor, clips)
        np.testing.assert_allclose(logits, expected, atol=1e-6, err_msg=name)


def test_the_network_goes_along_as_onnx_and_plain_onnxruntime_runs_it(checkpoint, hub, quick, monkeypatch):
    monkeypatch.setattr(push_module, "missing_package", lambda: None)
    monkeypatch.setattr(onnx_export, "SAMPLES", 4)
    with hub():
        push(checkpoint, "me/tiny")
        folder = Path(HfApi().snapshot_download("me/tiny"))
        command = [sys.executable, "-c", ONNX_ALONE, folder / "onnx"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.stdout == "(3, 3) ['negative', 'positive', 'surprise'] False\n", ran.stderr
        assert "For onnxruntime, without PyTorch: the folder `onnx`" in (folder / "README.md").read_text()
        push(checkpoint, "me/tiny", onnx=False)  # the old network would not be that of the weights
        assert not [name for name in HfApi().list_repo_files("me/tiny") if name.startswith("onnx/")]
        card = Path(HfApi().hf_hub_download("me/tiny", "README.md")).read_text()
        assert "onnx" not in card


def test_onnx_is_asked_for_by_a_flag(checkpoint, quick, monkeypatch, capfd):
    monkeypatch.setattr(push_module, "export_onnx", lambda path, folder: folder.mkdir() or told.append(path))
    for flags, wanted in (([], 0), (["--onnx"], 1), (["--no-onnx"], 0)):
        told = []
        assert main(["push", str(checkpoint), "me/tiny", "--dry-run", *flags]) == 0
        assert len(told) == wanted, flags
        assert ("the folder `onnx`" in capfd.readouterr().out) == bool(wanted), flags


SETTINGS = {
    ".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    "train_config.json", "video_preprocessor_config.json",
}  # fmt: skip


POINTS = {
    "create": lambda request: request.url.path == "/api/repos/create",
    "preupload": lambda request: "/preupload/" in request.url.path,
    "lfs batch": lambda request: request.url.path.endswith("/lfs/objects/batch"),
    "lfs put": lambda request: request.method == "PUT",
    "commit": lambda request: "/commit/" in request.url.path,
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("how", ["refused", pytest.param("reset", marks=pytest.mark.slow)])
def test_an_upload_that_breaks_leaves_the_repository_as_it_was_and_a_retry_completes(
    checkpoint, hub, quick, point, how
):
    broken = [True]

    def fail(request):
        if not broken[0] or not POINTS[point](request):
            return None
        if how == "reset":
            request.scope["extensions"] = {}
            raise ConnectionResetError("the server was killed")
        return JSONResponse({"error": "out of order"}, 400)

    with hub(fail):
        api = HfApi()
        with pytest.raises(ValueError, match=r"has not changed") as caught:
            push(checkpoint, "me/tiny")
        assert "\n" not in str(caught.value)
        if point != "create":
            assert [each.rfilename for each in api.model_info("me/tiny").siblings] == [".gitattributes"]
        broken[0] = False
        push(checkpoint, "me/tiny")
        assert "model.safetensors" in {each.rfilename for each in api.model_info("me/tiny").siblings}


def test_a_second_push_that_breaks_leaves_the_first(checkpoint, hub, quick):
    broken = [False]

    def fail(request):
        return JSONResponse({"error": "no"}, 400) if broken[0] and POINTS["commit"](request) else None

    with hub(fail):
        api = HfApi()
        push(checkpoint, "me/tiny")
        before = api.model_info("me/tiny").sha
        broken[0] = True
        (checkpoint / "train_config.json").write_text("{}")
        with pytest.raises(ValueError, match="has not changed"):
            push(checkpoint, "me/tiny")
        assert api.model_info("me/tiny").sha == before


def test_a_tag_is_made_once_also_when_the_push_is_repeated(checkpoint, hub, quick):
    """As after a kill between the tag and the end."""
    with hub():
        first = push(checkpoint, "me/tiny", revision="v1")
        push(checkpoint, "me/tiny", revision="v1")
        (checkpoint / "train_config.json").write_text("{}")
        with pytest.raises(ValueError, match=r"already has a revision v1; .*Choose another"):
            push(checkpoint, "me/tiny", revision="v1")
        assert HfApi().model_info("me/tiny", revision="v1").sha == first.rpartition("/")[2]


@pytest.mark.parametrize(
    ("status", "message"), [(401, "does not accept the token"), (403, "may not write to me/tiny")]
)
def test_a_token_without_permission_is_named(checkpoint, hub, quick, status, message):
    with (
        hub(lambda _: JSONResponse({"error": "no"}, status)),
        pytest.raises(ValueError, match=message),
    ):
        push(checkpoint, "me/tiny")


def test_no_server_and_an_invalid_name_are_refused(checkpoint, quick, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"the connection to http://127\.0\.0\.1:9 failed"):
        push(checkpoint, "me/tiny")
    for name in ("tiny", "me/tiny/x", "me/ti ny", ""):
        with pytest.raises(ValueError, match=r"invalid repository id .*: expected owner/name"):
            push(checkpoint, name)


def test_a_plan_lists_files_and_card_and_sends_nothing(checkpoint, capfd, quick):
    assert main(["push", str(checkpoint), "me/tiny", "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert told.startswith("to me/tiny:") and "model.safetensors" in told and "in all" in told
    assert "trained on no recorded expression" in told and 'from_pretrained("me/tiny")' in told


class Harmful:
    def __reduce__(self):
        return (os.system, ("touch /tmp/mer_hf_was_here",))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Harmful())),
            "is not valid safetensors",
        ),
        (
            lambda f: (f / "pytorch_model.bin").write_bytes(b"x"),
            "holds pytorch_model.bin, which may be a pickle",
        ),
        (lambda f: (f / "notes.json").symlink_to("/etc/hostname"), "is a link that leads out of the folder"),
        (lambda f: (f / "config.json").unlink(), "there is no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "holds a model of type 'bert'"),
        (lambda f: (f / "model.safetensors").unlink(), "lacks model.safetensors. Is the run finished"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:900]),
            "not valid safetensors",
        ),
    ],
)
def test_what_must_not_be_published_stops_everything(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(ValueError, match=message) as caught:
        push(checkpoint, "me/tiny", dry_run=True)
    assert "\n" not in str(caught.value) and not Path("/tmp/mer_hf_was_here").exists()
    with pytest.raises(ValueError, match="is not a folder"):
        push(checkpoint / "absent", "me/tiny")


def test_many_shards_are_published_and_a_missing_one_is_refused(tmp_path):
    folder = saved(tmp_path / "shards", max_shard_size="20KB")
    source = read_source(folder)
    assert len(source.weights) > 2
    out = tmp_path / "out"
    out.mkdir()
    assemble(source, out)
    names = {path.name for path in out.iterdir()}
    assert set(source.weights) | {"model.safetensors.index.json"} <= names
    (folder / source.weights[1]).unlink()
    with pytest.raises(ValueError, match=r"names the shard model-00002.* which is not there"):
        read_source(folder)


def test_nothing_leaves_that_is_not_on_the_list(checkpoint, tmp_path):
    Image.new("RGB", (8, 8)).save(checkpoint / "face.png")
    Image.new("RGB", (8, 8), "blue").save(checkpoint / "drawn.png")
    (checkpoint / "pictures.json").write_text(
        json.dumps({"synthetic": {"x": sha256_of(checkpoint / "drawn.png")}})
    )
    (checkpoint / "notes.txt").write_text("subject 12 is Anna")
    (checkpoint / "modeling_htnet.py").write_text("print('not the package's code')")
    (checkpoint / "folds").mkdir()
    (tmp_path / "out").mkdir()
    assemble(read_source(checkpoint), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "drawn.png" in names and not names & {"face.png", "notes.txt", "folds"}
    assert "class HTNetModel" in (tmp_path / "out" / "modeling_htnet.py").read_text()


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_weights_of_another_shape_are_refused(tmp_path, key):
    folder = saved(tmp_path / "checkpoint", key)
    state = load_file(folder / "model.safetensors")
    name = max(state, key=lambda name: state[name].ndim)
    save_file(state | {name: state[name][:-1].contiguous()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="the checkpoint has another shape or type for 1 tensors"):
        read_source(folder)


@pytest.mark.slow
def test_an_assembled_folder_with_other_logits_is_not_sent(checkpoint, tmp_path):
    source = read_source(checkpoint)
    (tmp_path / "out").mkdir()
    assemble(source, tmp_path / "out")
    check(tmp_path / "out", source)
    torch.manual_seed(1)
    other = ARCHITECTURES["htnet"].classifier_class(tiny_model("htnet").config)
    other.save_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="logits of the assembled folder differ from its source by up to"):
        check(tmp_path / "out", source)
    (tmp_path / "out" / "configuration_htnet.py").unlink()
    with pytest.raises(ValueError, match="does not load without this package"):
        check(tmp_path / "out", source)


def test_other_logits_of_a_fold_are_noticed(checkpoint, tmp_path, monkeypatch):
    source = read_source(checkpoint)
    answers = logits_of(*load(checkpoint), example_clips(load(checkpoint)[1]))
    monkeypatch.setattr("mer_hf.hub.folder.logits_in_clean_process", lambda _: [answers, answers])
    check(tmp_path, source, {"folds/a": source})
    monkeypatch.setattr("mer_hf.hub.folder.logits_in_clean_process", lambda _: [answers, answers + 1e-3])
    with pytest.raises(ValueError, match=r"logits of folds/a differ from its source by up to 0\.001"):
        check(tmp_path, source, {"folds/a": source})
