"""`mer-hf models` and `--model owner/name@revision`, with the real client, real HTTP and clean processes."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, constants

from mer_hf.hub import push as module
from mer_hf.hub.folder import code_files
from mer_hf.hub.listing import Listing, list_models
from mer_hf.hub.push import push
from mer_hf.registry import ARCHITECTURES
from tests.hub.clean import run_clean
from tests.hub.hub_server import serve
from tests.models.tiny import tiny_model, tiny_processor

REPORT = {
    "protocol": "loso", "selection": "last", "model": "htnet", "seeds": [0, 1], "clips": 442, "subjects": 68,
    "uf1": 0.61234, "uar": 0.6, "accuracy": 0.7, "uf1_interval": [0.5, 0.7], "uar_interval": [0.5, 0.7],
    "accuracy_interval": None, "per_dataset": {"casme2": {"clips": 442, "subjects": 68, "uf1": 0.61234,
    "uar": 0.6, "accuracy": 0.7}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick_uploads(monkeypatch):
    """Without xet, and without the clean process and the picture, which test_push.py tests."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(module, "check", lambda *_: None)
    monkeypatch.setattr(module, "render_picture", lambda *_: "")


@pytest.fixture
def flows(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "flows.npz",
        flow=rng.integers(0, 256, (6, 28, 28, 3), dtype=np.uint8),
        label=np.arange(6) % 3,
        subject=np.array([f"s{n // 2}" for n in range(6)]),
        dataset=np.array(["a"] * 6),
    )
    return "flows.npz"


def saved(folder, key="htnet", seed=0, report=None):
    torch.manual_seed(seed)
    ARCHITECTURES[key].classifier_class(tiny_model(key).config).save_pretrained(folder)
    tiny_processor(key).save_pretrained(folder)
    (folder / "train_config.json").write_text(json.dumps({"data": "synthetic", "seed": seed}))
    if report:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def options(url):
    return {"endpoint": url, "token": "hf_local", "progress": False}


def evaluate(model, *more):
    return ["evaluate", "--flows", "flows.npz", "--json", "--model", model, *more]


def refused(done) -> str:
    """The one line of a command that failed."""
    assert (done.code, done.out) == (2, "") and done.err.startswith("mer-hf: error: ")
    assert done.err.count("\n") == 1
    return done.err


def test_the_server_lists_models_as_the_client_asks(tmp_path):
    with serve(tmp_path / "hub") as url:
        for number, key in enumerate(["htnet", "mmnet", "htnet", "htnet", "hsta"]):
            push(saved(tmp_path / str(number), key), f"me/m{number}", **options(url))
        push(saved(tmp_path / "private"), "me/private", private=True, **options(url))
        push(saved(tmp_path / "other"), "you/other", **options(url))
        HfApi(endpoint=url, token="x").create_repo("me/empty")
        api = HfApi(endpoint=url, token=False)
        assert [each.id for each in api.list_models(author="me", filter="htnet")] == [
            "me/m0",
            "me/m2",
            "me/m3",
        ]
        assert [each.id for each in api.list_models(author="me", filter=["htnet", "no"])] == []
        assert len(list(api.list_models(author="me"))) == 6 and len(list(api.list_models(limit=3))) == 3
        with_token = HfApi(endpoint=url, token="x").list_models(author="me")
        assert "me/private" in {each.id for each in with_token}
        (first, *_) = api.list_models(author="me", filter="htnet", expand=["config", "safetensors", "sha"])
        assert first.config["model_type"] == "htnet" and first.tags is None
        assert first.safetensors.total == sum(p.numel() for p in tiny_model("htnet").parameters())
        assert first.sha == api.model_info("me/m0").sha


@pytest.mark.slow
def test_models_are_listed_and_named_online_offline_and_without_a_network(tmp_path, flows):
    asked = []
    with serve(tmp_path / "hub", fail=lambda request: asked.append(request.url.path)) as url:
        push(saved(tmp_path / "first", report=REPORT), "me/tiny", revision="v1", **options(url))
        push(saved(tmp_path / "second", seed=1), "me/tiny", **options(url))
        push(saved(tmp_path / "other", "mmnet"), "me/faces", **options(url))
        api = HfApi(endpoint=url, token="x")
        (old,) = {each.target_commit for each in api.list_repo_refs("me/tiny").tags}
        new, faces = api.model_info("me/tiny").sha, api.model_info("me/faces").sha

        # Online, nothing cached.
        before, first, main, commit, unknown, tag, after, nobody, table = run_clean(
            tmp_path, url,
            ["models", "me", "--json"], evaluate("me/tiny@v1"), evaluate("me/tiny"),
            evaluate(f"me/tiny@{old}"), evaluate("me/none"), evaluate("me/tiny@v9"),
            ["models", "me", "--json"], ["models", "you"], ["models", "me"],
        )  # fmt: skip
        listed = {each["model"]: each for each in json.loads(before.out)["models"]}
        assert set(listed) == {f"{key}-synthetic" for key in ARCHITECTURES} | {
            f"me/tiny@{new}",
            f"me/faces@{faces}",
        }
        there = listed[f"me/tiny@{new}"]
        assert there["where"] == "hub" and there["architecture"] == "htnet" and there["revision"] == new
        assert there["classes"] == ["negative", "positive", "surprise"] and there["scores"] == []
        assert there["parameters"] == sum(p.numel() for p in tiny_model("htnet").parameters())
        assert json.loads(before.out)["hub"] == f"{url} has 2 models of me of these architectures."
        scores = [json.loads(each.out) for each in (first, main, commit)]
        assert [each["model"] for each in scores] == [f"me/tiny@{old}", f"me/tiny@{new}", f"me/tiny@{old}"]
        assert scores[0]["confusion"] == scores[2]["confusion"] and {
            e.err for e in (first, main, commit)
        } == {""}
        assert f"there is no model me/none at {url}" in refused(unknown)
        assert f"{url}/me/tiny has no revision v9" in refused(tag)
        cached = [each for each in json.loads(after.out)["models"] if each["where"] == "cached"]
        assert {each["model"]: each["refs"] for each in cached} == {
            f"me/tiny@{new}": ["main"],
            f"me/tiny@{old}": ["v1"],
        }
        (score,) = next(each["scores"] for each in cached if each["revision"] == old)
        assert score == {"dataset": "casme2 (442 clips, 68 subjects, loso)", "uf1": 0.61234, "uar": 0.6}
        assert nobody.out.endswith(f"{url} has 0 models of you of these architectures.\n")
        assert "0.612  0.600  casme2 (442 clips, 68 subjects, loso)" in table.out

        # Told to be offline: the Hub is not asked, though it would answer.
        asked.clear()
        listing, *answers, none = run_clean(
            tmp_path, url, ["models", "me"], *map(evaluate, ("me/tiny@v1", "me/tiny", "me/faces")),
            HF_HUB_OFFLINE="1",
        )  # fmt: skip
        assert asked == [] and listing.out.endswith("\nThe Hub was not asked: HF_HUB_OFFLINE is set.\n")
        assert "htnet-synthetic" in listing.out and new[:12] in listing.out
        assert [json.loads(each.out) for each in answers] == scores[:2]
        assert "me/faces is not (or not wholly) in the cache, and HF_HUB_OFFLINE is set" in refused(none)

    # The server is gone.
    listing, main, commit, none = run_clean(
        tmp_path, url, ["models", "me"], *map(evaluate, ("me/tiny", f"me/tiny@{old}", "me/none"))
    )
    assert listing.out.endswith(f"The models of me are not listed: {url} did not answer (ConnectError).\n")
    assert (
        main.err
        == f"mer-hf: note: {url} was not reached (ConnectError): me/tiny is the cache's copy, {new}.\n"
    )
    assert [json.loads(each.out) for each in (main, commit)] == [scores[1], scores[0]] and commit.err == ""
    assert f"me/none is not (or not wholly) in the cache, and {url} was not reached" in refused(none)
    assert max(each.waited_s for each in (listing, main, commit, none)) < 1  # no retries, which wait 23 s


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


def test_code_of_a_repository_is_run_with_the_flag_only_and_pickles_never(tmp_path, flows):
    mark = tmp_path / "was_here"
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")
        places = {
            "me/foreign": foreign(tmp_path / "foreign", mark),
            "me/ours": foreign(tmp_path / "ours", mark, key="htnet"),
            "me/pickled": foreign(tmp_path / "pickled", mark),
        }
        weights = tmp_path / "pickled" / "model.safetensors"
        torch.save({}, weights.with_name("pytorch_model.bin"))
        weights.unlink()
        for name, folder in places.items():
            api.create_repo(name)
            api.upload_folder(repo_id=name, folder_path=folder)
        trusted = "--trust-remote-code"
        there, here, ours, pickled, pickled_trusted = run_clean(
            tmp_path, url,
            evaluate("me/foreign"), evaluate("foreign"), evaluate("me/ours"),
            evaluate("me/pickled"), evaluate("me/pickled", trusted),
        )  # fmt: skip
        assert not mark.exists()
        for each in (there, here):
            assert "brings code of its own for a model of type 'other', which was not run" in refused(each)
            assert "--trust-remote-code" in each.err
        for each in (pickled, pickled_trusted):
            assert "holds pytorch_model.bin and no safetensors" in refused(each)
        cached = [path.name for path in (tmp_path / "home").rglob("snapshots/*/*")]
        assert "config.json" in cached and not [name for name in cached if name.endswith((".py", ".bin"))]

        ours_trusted, trusting = run_clean(
            tmp_path, url, evaluate("me/ours", trusted), evaluate("me/foreign", trusted)
        )
        assert ours_trusted.out == ours.out and mark.exists()
        assert json.loads(trusting.out)["confusion"] == json.loads(ours.out)["confusion"]
        assert json.loads(trusting.out)["model"] == f"me/foreign@{api.model_info('me/foreign').sha}"


def test_an_owner_that_can_be_none_is_refused_and_words_from_elsewhere_are_made_harmless(
    tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="'me/tiny' is no user or organisation"):
        list_models("me/tiny")
    folder = saved(tmp_path / "odd", report=REPORT | {"per_dataset": {"\x1b[2Jcasme2": {}}})
    monkeypatch.setattr("mer_hf.hub.listing.CHECKPOINTS", tmp_path)
    monkeypatch.setattr("mer_hf.hub.listing._cached", list)
    listing = list_models()
    assert isinstance(listing, Listing) and "?[2Jcasme2" in str(listing) and "\x1b" not in str(listing)
    (folder / "report.json").write_text("[")
    (folder / "model.safetensors").write_bytes(b"")
    (found,) = list_models().found
    assert found.parameters is None and found.scores == ()
