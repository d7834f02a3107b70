"""`mer-hf models` and `--model owner/name@revision`, with the real client and real HTTP."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, constants

from mer_hf.cli import main
from mer_hf.hub.folder import code_files
from mer_hf.hub.listing import list_models
from mer_hf.hub.push import push
from mer_hf.loading import bundled_names
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_model, tiny_processor

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def evaluate(tmp_path, capfd):
    """Runs `mer-hf evaluate` with a model: what it prints, or the one line of its error, and the notes."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "flows.npz",
        flow=rng.integers(0, 256, (6, 28, 28, 3), dtype=np.uint8),
        label=np.arange(6) % 3,
        subject=np.array([f"s{n // 2}" for n in range(6)]),
        dataset=np.array(["a"] * 6),
    )

    def run(model, *more):
        flags = ["--flows", str(tmp_path / "flows.npz"), "--json", "--model", model, *more]
        capfd.readouterr()
        code = main(["evaluate", *flags])
        out, err = capfd.readouterr()
        if code == 0:
            return json.loads(out), err
        assert (code, out) == (2, "") and err.startswith("mer-hf: error: ") and err.count("\n") == 1
        return err, ""

    return run


def saved(folder, key="htnet", seed=0):
    torch.manual_seed(seed)
    ARCHITECTURES[key].classifier_class(tiny_model(key).config).save_pretrained(folder)
    tiny_processor(key).save_pretrained(folder)
    (folder / "train_config.json").write_text(json.dumps({"data": "synthetic", "seed": seed}))
    return folder


def test_models_are_listed_by_name(tmp_path, hub, monkeypatch, capfd):
    with hub() as url:
        for number, key in enumerate(["htnet", "mmnet", "htnet"]):  # the server's pages have two
            push(saved(tmp_path / str(number), key), f"me/m{number}")
        push(saved(tmp_path / "other"), "you/other")
        HfApi().create_repo("me/empty")
        tag = "micro-expression-recognition"
        names, note = list_models("me")
        assert names == [*bundled_names(), "me/m0", "me/m1", "me/m2"]
        assert note == f"{url} has 3 models of me with the tag {tag}."
        assert list_models("nobody")[0] == bundled_names()
        assert main(["models", "me", "--json"]) == 0
        assert json.loads(capfd.readouterr().out) == {"models": names, "hub": note}
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert list_models("me")[1].startswith("The models of me are not listed: ")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    begun = time.monotonic()
    names, note = list_models("me")
    assert names == bundled_names() and time.monotonic() - begun < 3  # retries would wait 20 s
    assert note == f"The models of me are not listed: {url} was not reached (ConnectError)."
    assert main(["models"]) == 0
    assert "htnet-synthetic\n" in (text := capfd.readouterr().out) and "hf cache ls" in text


def test_a_model_is_named_online_offline_and_without_a_network(tmp_path, hub, evaluate, monkeypatch):
    asked = []
    with hub(lambda request: asked.append(request.url.path)) as url:
        push(saved(tmp_path / "first"), "me/tiny", revision="v1")
        push(saved(tmp_path / "second", seed=1), "me/tiny")
        push(saved(tmp_path / "other"), "me/other")
        (old,) = {ref.target_commit for ref in HfApi().list_repo_refs("me/tiny").tags}
        new = HfApi().model_info("me/tiny").sha

        scores = [evaluate(f"me/tiny{revision}") for revision in ("@v1", "", f"@{old}")]
        assert [each["model"] for each, _ in scores] == [f"me/tiny@{old}", f"me/tiny@{new}", f"me/tiny@{old}"]
        assert scores[0] == scores[2] and {notes for _, notes in scores} == {""}
        assert f"there is no model me/none at {url}" in evaluate("me/none")[0]
        assert f"{url}/me/tiny has no revision v9" in evaluate("me/tiny@v9")[0]

        asked.clear()
        with monkeypatch.context() as offline:
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            assert [evaluate(name) for name in ("me/tiny@v1", "me/tiny")] == scores[:2]
            message = "me/other is not (or not completely) in the cache, and HF_HUB_OFFLINE is set"
            assert message in evaluate("me/other")[0]
        assert asked == []

    begun = time.monotonic()
    found, notes = evaluate("me/tiny")
    reason = f"{url} was not reached (ConnectError)"
    assert found == scores[1][0]
    assert notes == f"mer-hf: note: {reason}: using me/tiny from the cache, {new}.\n"
    assert evaluate(f"me/tiny@{old}") == scores[0]  # a commit needs no question
    assert f"me/none is not (or not completely) in the cache, and {reason}" in evaluate("me/none")[0]
    assert time.monotonic() - begun < 5  # retries would wait 20 s


def foreign(folder, marker, key="other"):
    """HTNet under a name that this package has not, with its own code, which leaves a mark when it is run."""
    saved(folder)
    for each in code_files(ARCHITECTURES["htnet"]):
        shutil.copy(each, folder)
    config = folder / "configuration_htnet.py"
    config.write_text(config.read_text().replace('model_type = "htnet"', f'model_type = "{key}"'))
    for each in folder.glob("*.py"):
        each.write_text(each.read_text() + f"\nopen({str(marker)!r}, 'a').close()\n")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": key}))
    return folder


def test_code_of_a_repository_is_run_with_the_flag_only_and_pickles_never(tmp_path, hub, evaluate):
    mark = tmp_path / "was_here"
    places = {
        "me/foreign": foreign(tmp_path / "foreign", mark),
        "me/ours": foreign(tmp_path / "ours", mark, key="htnet"),
        "me/pickled": foreign(tmp_path / "pickled", mark),
    }
    weights = tmp_path / "pickled" / "model.safetensors"
    torch.save({}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with hub():
        for name, folder in places.items():
            HfApi().create_repo(name)
            HfApi().upload_folder(repo_id=name, folder_path=folder)
        trusted = "--trust-remote-code"
        for name in ("me/foreign", str(places["me/foreign"])):
            error, _ = evaluate(name)
            assert "brings its own code for a model of type 'other', which was not run" in error
            assert trusted in error
        ours, _ = evaluate("me/ours")
        for flags in ((), (trusted,)):
            assert "holds pytorch_model.bin and no safetensors" in evaluate("me/pickled", *flags)[0]
        cached = [path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")]
        assert "config.json" in cached and not [n for n in cached if n.endswith((".py", ".bin"))]
        assert evaluate("me/ours", trusted)[0] == ours and not mark.exists()
        trusting, _ = evaluate("me/foreign", trusted)
        assert mark.exists() and trusting["confusion"] == ours["confusion"]
        assert trusting["model"] == f"me/foreign@{HfApi().model_info('me/foreign').sha}"
