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

from mer_hf.cli import main
from mer_hf.hub import push as module
from mer_hf.hub.folder import assemble, check, code_files, example_inputs, read_source
from mer_hf.hub.push import push
from mer_hf.registry import ARCHITECTURES
from mer_hf.utils.provenance import sha256_of
from tests.hub.hub_server import serve
from tests.models.tiny import tiny_model, tiny_processor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def saved(folder, key="htnet", **options):
    """A checkpoint's folder with a report, as a run leaves it."""
    tiny_model(key).save_pretrained(folder, **options)
    tiny_processor(key).save_pretrained(folder)
    (folder / "train_config.json").write_text(json.dumps({"data": "synthetic", "seed": 0}))
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return saved(tmp_path / "checkpoint")


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the clean process and the picture, which take seconds, where something else is tested."""
    monkeypatch.setattr(module, "check", lambda *_: None)
    monkeypatch.setattr(module, "render_picture", lambda *_: "")


def options(url):
    return {"endpoint": url, "token": "hf_local", "progress": False}


STRANGER = """
import sys
import numpy as np, torch
from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification
try:
    import mer_hf
    raise SystemExit("the package is there")
except ModuleNotFoundError:
    pass
repo, given, found = sys.argv[1:]
options = {"trust_remote_code": True, "revision": "v1"}
model = AutoModelForVideoClassification.from_pretrained(repo, **options).eval()
AutoModel.from_pretrained(repo, **options)
AutoImageProcessor.from_pretrained(repo, **options)
with np.load(given) as arrays:
    inputs = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
with torch.no_grad():
    np.save(found, model(**inputs).logits.numpy())
"""

BLOCK = "import sys; sys.modules['mer_hf'] = None\n"


@pytest.mark.parametrize(
    "key", ["htnet", *(pytest.param(key, marks=pytest.mark.slow) for key in ARCHITECTURES if key != "htnet")]
)
def test_a_stranger_loads_what_was_pushed_by_name_and_revision(tmp_path, key):
    folder = saved(tmp_path / "checkpoint", key)
    model = tiny_model(key)
    inputs = example_inputs(tiny_processor(key), model.config)
    np.savez(tmp_path / "given.npz", **{name: tensor.numpy() for name, tensor in inputs.items()})
    with serve(tmp_path / "hub") as url:
        address = push(folder, "me/tiny", revision="v1", **options(url))
        assert address.startswith(f"{url}/me/tiny/commit/")
        kept = ("HF_", "PYTHONPATH")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(kept)}
        environment |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", BLOCK + STRANGER, "me/tiny", "given.npz", "found.npy"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        files = {each.rfilename for each in HfApi(endpoint=url, token="x").model_info("me/tiny").siblings}
    with torch.no_grad():
        assert np.array_equal(np.load(tmp_path / "found.npy"), model(**inputs).logits.numpy())
    code = {each.name for each in code_files(ARCHITECTURES[key])}
    settings = {
        "config.json",
        "preprocessor_config.json",
        "train_config.json",
        "README.md",
        "model.safetensors",
        "pictures.json",
        "prediction.png",
    }
    assert files == code | settings | {".gitattributes"}


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
    checkpoint, tmp_path, unchecked, point, how
):
    broken = [True]

    def fail(request):
        if not broken[0] or not POINTS[point](request):
            return None
        if how == "reset":
            request.scope["extensions"] = {}
            raise ConnectionResetError("the server was killed")
        return JSONResponse({"error": "out of order"}, 400)

    with serve(tmp_path / "hub", fail=fail) as url:
        api = HfApi(endpoint=url, token="x")
        with pytest.raises(ValueError, match=r"has not changed") as caught:
            push(checkpoint, "me/tiny", **options(url))
        assert "\n" not in str(caught.value)
        if point != "create":
            assert [each.rfilename for each in api.model_info("me/tiny").siblings] == [".gitattributes"]
        broken[0] = False
        push(checkpoint, "me/tiny", **options(url))
        assert "model.safetensors" in {each.rfilename for each in api.model_info("me/tiny").siblings}


def test_a_second_push_that_breaks_leaves_the_first(checkpoint, tmp_path, unchecked):
    broken = [False]

    def fail(request):
        return JSONResponse({"error": "no"}, 400) if broken[0] and POINTS["commit"](request) else None

    with serve(tmp_path / "hub", fail=fail) as url:
        api = HfApi(endpoint=url, token="x")
        push(checkpoint, "me/tiny", **options(url))
        before = api.model_info("me/tiny").sha
        broken[0] = True
        (checkpoint / "train_config.json").write_text("{}")
        with pytest.raises(ValueError, match="has not changed"):
            push(checkpoint, "me/tiny", **options(url))
        assert api.model_info("me/tiny").sha == before


@pytest.mark.parametrize(
    ("status", "message"), [(401, "does not accept the token"), (403, "may not write to me/tiny")]
)
def test_a_token_that_is_not_good_enough_is_told(checkpoint, tmp_path, unchecked, status, message):
    with (
        serve(tmp_path / "hub", fail=lambda _: JSONResponse({"error": "no"}, status)) as url,
        pytest.raises(ValueError, match=message),
    ):
        push(checkpoint, "me/tiny", **options(url))


def test_no_server_and_a_name_that_is_none_are_told(checkpoint, unchecked):
    with pytest.raises(ValueError, match=r"the connection to http://127\.0\.0\.1:9 failed"):
        push(checkpoint, "me/tiny", **options("http://127.0.0.1:9"))
    for name in ("tiny", "me/tiny/x", "me/ti ny", ""):
        with pytest.raises(ValueError, match="is no name of a repository: expected owner/name"):
            push(checkpoint, name)


def test_a_plan_lists_files_and_card_and_sends_nothing(checkpoint, capfd):
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
            "is named like weights and is no",
        ),
        (
            lambda f: (f / "pytorch_model.bin").write_bytes(b"x"),
            "holds pytorch_model.bin, which may be a pickle",
        ),
        (lambda f: (f / "notes.json").symlink_to("/etc/hostname"), "is a link that leads out of the folder"),
        (lambda f: (f / "config.json").unlink(), "lacks config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is no JSON"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "holds a model of type 'bert'"),
        (lambda f: (f / "model.safetensors").unlink(), "lacks model.safetensors. Is the run finished"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:900]),
            "no safetensors",
        ),
    ],
)
def test_what_must_not_be_published_stops_everything(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(ValueError, match=message) as caught:
        push(checkpoint, "me/tiny", dry_run=True)
    assert "\n" not in str(caught.value) and not Path("/tmp/mer_hf_was_here").exists()
    with pytest.raises(ValueError, match="is no folder"):
        push(checkpoint / "absent", "me/tiny")


def test_many_shards_are_published_and_a_missing_one_is_refused(tmp_path):
    folder = saved(tmp_path / "shards", max_shard_size="20KB")
    source = read_source(folder)
    assert len(source.weights) > 2
    out = tmp_path / "out"
    out.mkdir()
    names = {each.name for each in assemble(source, "card", out)}
    assert set(source.weights) | {"model.safetensors.index.json"} <= names
    check(out, source)
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
    files = assemble(read_source(checkpoint), "card", tmp_path / "out")
    names = {each.name for each in files}
    assert "drawn.png" in names and not names & {"face.png", "notes.txt", "folds"}
    assert "class HTNetModel" in (tmp_path / "out" / "modeling_htnet.py").read_text()


@pytest.mark.slow
def test_an_assembled_folder_that_answers_otherwise_is_not_sent(checkpoint, tmp_path):
    source = read_source(checkpoint)
    (tmp_path / "out").mkdir()
    assemble(source, "card", tmp_path / "out")
    check(tmp_path / "out", source)
    torch.manual_seed(1)
    other = ARCHITECTURES["htnet"].classifier_class(tiny_model("htnet").config)
    other.save_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="answers otherwise than its source"):
        check(tmp_path / "out", source)
    (tmp_path / "out" / "configuration_htnet.py").unlink()
    with pytest.raises(ValueError, match="does not load without this package"):
        check(tmp_path / "out", source)
