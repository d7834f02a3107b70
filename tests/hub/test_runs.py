import csv
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from fastapi.responses import JSONResponse
from huggingface_hub import HfApi, ModelCard, constants
from safetensors.torch import load_file, save_file

from mer_hf.cli import main
from mer_hf.data.flow_files import FlowMaps, read_flow_maps, write_flow_maps
from mer_hf.data.prepare import prepare
from mer_hf.data.table_reader import read_user_table
from mer_hf.hub import push as module
from mer_hf.hub.folder import read_source
from mer_hf.hub.push import push
from mer_hf.hub.reproduce import reproduce
from mer_hf.hub.runs import check_shapes, is_run, read_run
from mer_hf.loading import load
from mer_hf.registry import ARCHITECTURES
from mer_hf.training import cli as train_program
from mer_hf.training.config import TrainingConfig
from mer_hf.training.folds import run_protocol
from mer_hf.training.samples import to_inputs
from tests.data import trees
from tests.evaluation.conftest import maps
from tests.hub.hub_server import serve
from tests.models.tiny import TINY as FACES
from tests.models.tiny import tiny_model, tiny_processor

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "config": {"hidden_size": 12, "depths": [1, 1, 1]},
    "processor": {"mosaic": "corrected", "normalization": "standardize"},
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of three subjects and two seeds that has ended; the last subject has the fewest clips."""
    folder = tmp_path_factory.mktemp("ended")
    found = maps(3, 6)
    found = FlowMaps(*(getattr(found, name)[:-2] for name in ("flow", "label", "subject", "dataset")))
    write_flow_maps(folder / "maps.npz", found)
    AcceleratorState._reset_state(reset_partial_state=True)
    config = TrainingConfig(
        output_dir=str(folder / "run"), data=f"flows:{folder / 'maps.npz'}", protocol="loso", num_seeds=2,
        epochs=3, batch_size=8, lr=3e-3, baselines="no", **TINY,
    )  # fmt: skip
    run_protocol(config)
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


@pytest.fixture
def run(ended, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(ended / "run", tmp_path / "run")


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def quick(monkeypatch):
    """Leaves out the clean process and the picture, which take seconds, where something else is tested."""
    monkeypatch.setattr(module, "check", lambda *_: None)
    monkeypatch.setattr(module, "render_picture", lambda *_: "")


def options(url):
    return {"endpoint": url, "token": "hf_local", "progress": False}


def files_of(url):
    return {each.rfilename for each in HfApi(endpoint=url, token="x").model_info("me/run").siblings}


def clean(url, home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    return kept | {
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }


STRANGER = """
import sys
sys.modules["mer_hf"] = None
import numpy as np, torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification
options = {"trust_remote_code": True, "subfolder": sys.argv[1]}
model = AutoModelForVideoClassification.from_pretrained("me/run", **options).eval()
processor = AutoImageProcessor.from_pretrained("me/run", **options)
inputs = processor(flow_maps=np.load("flow.npy"), return_tensors="pt")
with torch.no_grad():
    np.save("found.npy", model(**inputs).logits.numpy())
"""


def start(command, url, home, cwd):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=clean(url, home), **pipes)


def loaded_and_reproduced(ended, tmp_path, url, fold):
    """What a stranger's process and `mer-hf reproduce` in another, both with nothing in their caches, say."""
    data = read_flow_maps(ended / "maps.npz")
    np.save(tmp_path / "flow.npy", data.flow[:2])
    stranger = start(["-c", STRANGER, f"folds/{fold}"], url, tmp_path / "home1", tmp_path)
    command = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mer_hf.cli import main; sys.exit(main())"
    arguments = ["reproduce", "me/run", "--data", f"flows:{ended / 'maps.npz'}", "--json"]
    other = start(["-c", command, *arguments], url, tmp_path / "home2", tmp_path)
    _, errors = stranger.communicate(timeout=300)
    assert stranger.returncode == 0, errors[-2000:]
    said, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors[-2000:]
    model, processor = load(ended / "run" / "folds" / fold)
    with torch.no_grad():
        expected = model(pixel_values=to_inputs(processor, data.flow[:2])).logits.numpy()
    assert np.array_equal(np.load(tmp_path / "found.npy"), expected)
    return json.loads(said)


def test_a_run_is_one_commit_whose_folds_load_by_subfolder_and_whose_numbers_are_confirmed(
    ended, tmp_path, quick
):
    with serve(tmp_path / "hub") as url:
        push(ended / "run", "me/run", revision="v1", **options(url))
        commits = HfApi(endpoint=url, token="x").list_repo_commits("me/run")
        assert [each.title for each in commits] == [
            "Upload a run of mer_hf with 6 networks",
            "initial commit",
        ]
        found = loaded_and_reproduced(ended, tmp_path, url, "seed1-a-s0")
        fetched = {each.name for each in (tmp_path / "home2").rglob("*") if each.is_symlink()}
    assert found["verdict"] == "equal" and found["matches"] and not found["differing"]
    assert found["trainings"] == 6 and found["clips"] == 16 and found["answers"] == 32
    assert found["published"] == found["recomputed"]
    assert fetched == {
        "config.json", "preprocessor_config.json", "model.safetensors", "train_config.json", "report.json",
        "splits.json", "predictions.csv",
    }  # fmt: skip


@pytest.mark.slow
def test_people_who_do_not_exist_from_drawing_to_reproducing(tmp_path, capfd):
    people, run = tmp_path / "maps.npz", tmp_path / "run"
    assert main(["synth-flows", "--subjects", "3", "--out", str(people)]) == 0
    pairs = [f"{key}={json.dumps(value)}" for key, value in TINY["config"].items()]
    arguments = ["--output-dir", str(run), "--data", f"flows:{people}", "--protocol", "loso", "--epochs", "2"]
    assert train_program.main([*arguments, "--baselines", "no", "--config", *pairs]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    with serve(tmp_path / "hub") as url:
        push(run, "me/run", **options(url))
        fold = sorted(each.name for each in (run / "folds").iterdir())[-1]
        assert loaded_and_reproduced(tmp_path, tmp_path, url, fold)["verdict"] == "equal"


def test_what_is_published_is_listed_and_names_no_label_and_no_place(ended, tmp_path, quick):
    for name in ("face.png", "notes.txt"):
        (ended / "run" / "folds" / "seed0-b-s1" / name).write_text("anna")
    with serve(tmp_path / "hub") as url:
        push(ended / "run", "me/run", **options(url))
        names = files_of(url)
        folder = Path(
            HfApi(endpoint=url, token="x").snapshot_download("me/run", cache_dir=tmp_path / "cache")
        )
    folds = {f"seed{seed}-{fold}" for seed in (0, 1) for fold in ("a-s0", "b-s1", "b-s2")}
    per_fold = {"config.json", "preprocessor_config.json", "model.safetensors"}
    root = {
        "README.md",
        "report.json",
        "train_config.json",
        "splits.json",
        "predictions.csv",
        ".gitattributes",
    }
    code = {name for name in names if name.endswith(".py")}
    assert code and not any("/" in name for name in code)
    assert names - code == root | per_fold | {f"folds/{fold}/{name}" for fold in folds for name in per_fold}
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32 and set(rows[0]) == {
        "key", "dataset", "subject", "fold", "seed", "prediction", "epoch", "selection", "p_negative",
        "p_positive", "p_surprise",
    }  # fmt: skip
    for path in (each for each in folder.rglob("*") if each.suffix in (".json", ".csv", ".md")):
        assert str(ended) not in path.read_text()


def test_the_root_is_the_fold_that_was_trained_on_most_clips_and_the_card_says_so(ended, tmp_path, quick):
    plan = push(ended / "run", "me/run", dry_run=True)
    sizes = dict(plan.files)
    assert read_run(ended / "run").default == "seed0-b-s2"  # b/s2 has four clips, the others six
    assert sizes["model.safetensors"] == sizes["folds/seed0-b-s2/model.safetensors"]
    card, report = ModelCard(plan.card), json.loads((ended / "run" / "report.json").read_text())
    assert {each.metric_type: each.metric_value for each in card.data.eval_results} == {
        "f1": report["uf1"],
        "recall": report["uar"],
        "accuracy": report["accuracy"],
    }
    assert "6 networks are in this repository" in card.text and "# run\n" in card.text
    assert '"me/run", subfolder="folds/seed0-b-s2", trust_remote_code=True' in card.text
    assert "mer-hf reproduce me/run --data flows:FILE.npz" in card.text


def test_a_checkpoint_has_no_section_on_folds(tmp_path, quick):
    tiny_model("htnet").save_pretrained(tmp_path / "one")
    tiny_processor("htnet").save_pretrained(tmp_path / "one")
    plan = push(tmp_path / "one", "me/run", dry_run=True)
    assert "## Folds" not in plan.card and not any("/" in name for name, _ in plan.files)


@pytest.mark.slow
def test_a_run_is_checked_by_a_clean_process(ended, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "render_picture", lambda *_: "")
    assert main(["push", str(ended / "run"), "me/run", "--dry-run"]) == 0
    places = []

    def spoiled(run, folder):
        files = list(add_folds(run, folder))
        places.append(folder)
        other = folder / "folds" / run.other() / "model.safetensors"
        state = load_file(other)
        other.unlink()  # it may be the run's own file under another name
        save_file({name: tensor * 0.5 for name, tensor in state.items()}, other, {"format": "pt"})
        return files

    add_folds = module.add_folds
    monkeypatch.setattr(module, "add_folds", spoiled)
    with pytest.raises(ValueError, match="folds/seed0-a-s0 answers otherwise than its source"):
        push(ended / "run", "me/run", dry_run=True)
    assert places


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_other_shapes(run):
    model = ARCHITECTURES["htnet"].classifier_class(
        ARCHITECTURES["htnet"].config_class(hidden_size=24, depths=[1, 1, 1])
    )
    save_file(model.state_dict(), run / "folds/seed1-b-s1/model.safetensors", {"format": "pt"})


SPOILED = {
    "missing fold": (
        lambda run: shutil.rmtree(run / "folds/seed1-b-s1"),
        r"half finished: 1 of 6 folds have no weights \(seed1-b-s1\)",
    ),
    "many missing": (
        lambda run: [(each / "model.safetensors").unlink() for each in (run / "folds").iterdir()],
        r"6 of 6 folds have no weights \(seed0-a-s0, seed0-b-s1, seed0-b-s2 and 3 more\)",
    ),
    "dropped": (
        lambda run: [
            edited(run / "train_config.json", drop_fold_weights=True),
            *((each / "model.safetensors").unlink() for each in (run / "folds").iterdir()),
        ],
        "was trained with --drop-fold-weights",
    ),
    "no report": (lambda run: (run / "report.json").unlink(), "lacks report.json. Is the run finished"),
    "no log": (lambda run: (run / "predictions.csv").unlink(), "there is no .*predictions.csv"),
    "report of another log": (
        lambda run: edited(run / "report.json", uf1=0.99),
        "says uf1 0.99, and its log",
    ),
    "pickle": (
        lambda run: (run / "folds/seed0-b-s1/model.safetensors").write_bytes(pickle.dumps({})),
        "seed0-b-s1.*is named like weights and is no safetensors",
    ),
    "pickle beside": (
        lambda run: (run / "folds/seed0-b-s1/optimizer.pt").write_bytes(b"x"),
        "holds optimizer.pt, which may be a pickle",
    ),
    "pickle of the run": (
        lambda run: (run / "all.ckpt").write_bytes(b"x"),
        "run holds all.ckpt, which may be a pickle",
    ),
    "link of the run": (
        lambda run: [(run / "report.json").unlink(), (run / "report.json").symlink_to("/etc/hostname")],
        "report.json is a link that leads out of the folder",
    ),
    "link": (
        lambda run: (run / "folds/seed0-b-s1/notes.json").symlink_to("/etc/hostname"),
        "is a link that leads out of the folder",
    ),
    "shard": (
        lambda run: (run / "folds/seed0-b-s1/model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
        ),
        "names the shard model-00001-of-00002.safetensors, which is not there",
    ),
    "shapes": (with_other_shapes, r"seed1-b-s1 are not those of its config.json: .* has the shape"),
    "processor": (
        lambda run: edited(run / "folds/seed1-b-s2/preprocessor_config.json", mosaic="published"),
        "the folds seed0-a-s0 and seed1-b-s2 have different image processors",
    ),
    "classes": (
        lambda run: edited(
            run / "folds/seed1-b-s2/config.json", id2label={"0": "surprise", "1": "negative", "2": "positive"}
        ),
        "fold seed1-b-s2 has other classes than the run",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_run_that_must_not_be_published_stops_everything(run, quick, how):
    spoil, message = SPOILED[how]
    spoil(run)
    with pytest.raises(ValueError, match=message) as caught:
        push(run, "me/run", dry_run=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_shapes_are_compared_for_every_architecture(tmp_path, key):
    tiny_model(key).save_pretrained(tmp_path)
    tiny_processor(key).save_pretrained(tmp_path)
    check_shapes(read_source(tmp_path))
    state = load_file(tmp_path / "model.safetensors")
    name = max(state, key=lambda name: state[name].ndim)
    save_file(state | {name: state[name][:-1].contiguous()}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"{name} has the shape"):
        check_shapes(read_source(tmp_path))


def test_an_upload_that_breaks_publishes_no_fold_and_a_second_push_leaves_no_old_one(run, tmp_path, quick):
    broken = [True]

    def fail(request):
        if broken[0] and "/commit/" in request.url.path:
            return JSONResponse({"error": "out of order"}, 400)
        return None

    with serve(tmp_path / "hub", fail=fail) as url:
        with pytest.raises(ValueError, match="has not changed"):
            push(run, "me/run", **options(url))
        assert files_of(url) == {".gitattributes"}
        with pytest.raises(ValueError, match=r"holds no splits\.json, so it is no published run"):
            reproduce("me/run", "flows:x.npz", endpoint=url, token="x", show=False)
        broken[0] = False
        push(run, "me/run", **options(url))
        assert "folds/seed1-b-s2/model.safetensors" in files_of(url)
        push(run / "folds" / "seed1-b-s2", "me/run", **options(url))  # now a checkpoint alone
        assert not [name for name in files_of(url) if name.startswith("folds/")]


def test_reproducing_a_folder_says_what_differs(ended, run, capfd):
    data = f"flows:{ended / 'maps.npz'}"
    assert main(["reproduce", str(run), "--data", data]) == 0
    assert "It matches: every probability is the published one to the last digit." in capfd.readouterr().out
    weights = run / "folds" / "seed1-b-s1" / "model.safetensors"
    state = load_file(weights)
    save_file({name: tensor * (1 + 1e-6) for name, tensor in state.items()}, weights, {"format": "pt"})
    assert reproduce(str(run), data, show=False).verdict == "within"
    head = max((name for name in state if name.endswith("bias")), key=lambda name: name.count("classifier"))
    save_file(state | {head: state[head] + torch.tensor([0.0, 0.0, 9.0])}, weights, {"format": "pt"})
    assert main(["reproduce", str(run), "--data", data, "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["verdict"] == "differs" and not found["matches"]
    assert {each["seed"] for each in found["differing"]} == {1}
    assert (
        all(each["key"].startswith("b/s1/") for each in found["differing"]) and len(found["differing"]) == 6
    )
    assert main(["reproduce", str(run), "--data", data]) == 1
    assert "b/s1/000006 (seed 1: surprise, published" in capfd.readouterr().out


def with_row(path, **changes):
    """A log whose first row is another."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= changes
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("p_surprise", lambda value: float(value) + 0.001, "0 of 32 answers are others, 1 more have prob"),
        ("p_surprise", lambda value: float(value) + 0.00001, "every prediction is the published one"),
        (
            "prediction",
            lambda value: {"surprise": "negative"}.get(value, "surprise"),
            "1 of 32 answers are oth",
        ),
    ],
)
def test_one_row_that_was_published_otherwise_is_found(ended, run, capfd, column, change, said):
    with open(run / "predictions.csv", newline="") as file:
        value = next(csv.DictReader(file))[column]
    with_row(run / "predictions.csv", **{column: change(value)})
    matches = said.startswith("every")
    assert main(["reproduce", str(run), "--data", f"flows:{ended / 'maps.npz'}"]) == (0 if matches else 1)
    told = capfd.readouterr().out
    assert said in told and ("a/s0/000000 (seed 0" in told) == (not matches)


def test_answers_that_are_no_numbers_never_match(ended, run):
    data, weights = f"flows:{ended / 'maps.npz'}", run / "folds/seed0-a-s0/model.safetensors"
    state = load_file(weights)
    save_file({name: tensor * torch.nan for name, tensor in state.items()}, weights, {"format": "pt"})
    found = reproduce(str(run), data, show=False)
    assert not found.matches and len(found.differing) == 6 and found.largest_difference == 1.0
    with_row(run / "predictions.csv", p_surprise="nan")
    with pytest.raises(ValueError, match="a probability of a/s0/000000 is no number"):
        reproduce(str(run), data, show=False)
    with pytest.raises(ValueError, match=r"fold a-s0 of the run in .* answered no numbers"):
        push(run, "me/run", dry_run=True)


def test_numbers_that_are_not_those_of_the_predictions_do_not_match(ended, run, capfd):
    edited(run / "report.json", uf1=0.99)
    assert main(["reproduce", str(run), "--data", f"flows:{ended / 'maps.npz'}"]) == 1
    assert "the predictions are the published ones, the numbers are not theirs" in capfd.readouterr().out


def changed(data, **arrays):
    return replace(data, **arrays)


OTHER_DATA = {
    "fewer clips": (
        lambda d: FlowMaps(d.flow[:-1], d.label[:-1], d.subject[:-1], d.dataset[:-1]),
        r"lacks 1 clips of the published run: b/s2/000015",
    ),
    "more clips": (
        lambda d: FlowMaps(*(np.concatenate([a, a[-1:]]) for a in (d.flow, d.label, d.subject, d.dataset))),
        r"holds 1 clips that the published run has not: b/s2/000016",
    ),
    "other labels": (
        lambda d: changed(d, label=np.where(np.arange(16) == 3, 1, d.label)),
        r"with other labels \(negative 5 here and 6 published, positive 6 here and 5 published\)",
    ),
    "labels exchanged": (
        lambda d: changed(d, label=d.label[[1, 0, *range(2, 16)]]),
        "with other labels .as many of each class, but not on the same clips",
    ),
    "other classes": (
        lambda d: changed(d, label=d.label + 1),
        "has the classes class0, class1, class2, class3, the published run negative, positive, surprise",
    ),
}


@pytest.mark.parametrize("how", OTHER_DATA)
def test_other_data_are_told_by_what_differs(ended, tmp_path, how, capfd):
    change, message = OTHER_DATA[how]
    write_flow_maps(tmp_path / "other.npz", change(read_flow_maps(ended / "maps.npz")))
    with pytest.raises(ValueError, match=message):
        reproduce(str(ended / "run"), f"flows:{tmp_path / 'other.npz'}", show=False)
    assert main(["reproduce", str(ended / "run"), "--data", f"flows:{tmp_path / 'other.npz'}"]) == 2
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith("mer-hf: error: --data flows:")


DAMAGED = {
    "missing fold": (lambda run: shutil.rmtree(run / "folds/seed1-b-s1"), "lacks 1 of 6 folds: seed1-b-s1"),
    "missing weights": (
        lambda run: (run / "folds/seed1-b-s1/model.safetensors").unlink(),
        "lacks 1 of 6 folds: seed1-b-s1",
    ),
    "other split": (
        lambda run: edited(run / "splits.json", more={"train": [], "test": []}),
        "is not the split that report.json was computed with",
    ),
    "rows": (
        lambda run: (run / "predictions.csv").write_text(
            "\n".join((run / "predictions.csv").read_text().splitlines()[:-1]) + "\n"
        ),
        r"predictions.csv and splits.json disagree on 1 rows, .*'1', 'b-s2', 'b/s2/000015'",
    ),
    "classes": (
        lambda run: edited(
            run / "folds/seed0-b-s1/config.json", id2label={"0": "surprise", "1": "negative", "2": "positive"}
        ),
        "fold b-s1 has other classes than the run",
    ),
    "no run": (lambda run: (run / "splits.json").unlink(), "holds no splits.json"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_publication_is_told(ended, run, how):
    spoil, message = DAMAGED[how]
    spoil(run)
    with pytest.raises(ValueError, match=message) as caught:
        reproduce(str(run), f"flows:{ended / 'maps.npz'}", show=False)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_there_and_a_hub_that_is_not_are_told(tmp_path):
    with serve(tmp_path / "hub") as url, pytest.raises(ValueError, match=r"refused \(404|not found"):
        reproduce("me/none", "flows:x.npz", endpoint=url, token="x", show=False)
    with pytest.raises(
        ValueError, match=r"not wholly, in the cache, and http://127\.0\.0\.1:9 was not reached"
    ):
        reproduce("me/none", "flows:x.npz", endpoint="http://127.0.0.1:9", show=False)
    with pytest.raises(ValueError, match="is no name of a repository"):
        reproduce("none", "flows:x.npz", show=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no revisions"):
        reproduce(str(tmp_path / "empty"), "flows:x.npz", revision="v1", show=False)


def test_what_the_cache_has_is_used_and_named_where_the_hub_is_not_reached(
    ended, tmp_path, quick, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    data, broken = f"flows:{ended / 'maps.npz'}", [True]

    def fail(request):
        if broken[0] and request.method == "GET" and "seed1-b-s1/model.safetensors" in request.url.path:
            return JSONResponse({"error": "out of order"}, 400)
        return None

    with serve(tmp_path / "hub", fail=fail) as url:
        push(ended / "run", "me/run", **options(url))
        found = {"endpoint": url, "token": "x", "show": False}
        with pytest.raises(ValueError, match="Nothing was computed; what is downloaded already is kept"):
            reproduce("me/run", data, **found)
        with monkeypatch.context() as offline:
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            with pytest.raises(ValueError, match="me/run is not, or not wholly, in the cache"):
                reproduce("me/run", data, **found)
            with pytest.raises(
                ValueError, match="me/other is not, or not wholly, in the cache, and HF_HUB_OFFLINE is set"
            ):
                reproduce("me/other", data, **found)
        broken[0] = False
        assert reproduce("me/run", data, **found).matches
    again = reproduce("me/run", data, **found)
    assert again.matches and "as the cache has it" in again.name and "was not reached" in again.name


def protocol_run(folder, **changes):
    AcceleratorState._reset_state(reset_partial_state=True)
    settings = {"protocol": "loso", "epochs": 2, "batch_size": 8, "lr": 3e-3, "baselines": "no"}
    run_protocol(TrainingConfig(output_dir=str(folder), **(settings | changes)))
    AcceleratorState._reset_state(reset_partial_state=True)


KINDS = {
    "float16": ({"dtype_on_disk": "float16"}, "within"),
    "test-selected": ({"selection": "oracle-epoch"}, "equal"),
    "parts": ({"protocol": "kfold", "folds": 2}, "equal"),
    "data sets": ({"protocol": "cross"}, "equal"),
}


@pytest.mark.parametrize(
    ("names", "says", "licence"),
    [
        (["synthetic"], "trained on no recorded expression", "apache-2.0"),
        (["synthetic", "samm"], "trained on recorded micro-expressions", "cc-by-nc-4.0"),
    ],
)
def test_the_card_of_a_run_on_drawn_people_does_not_speak_of_recordings(
    ended, run, quick, names, says, licence
):
    report = json.loads((run / "report.json").read_text())
    scores = next(iter(report["per_dataset"].values()))
    edited(run / "report.json", per_dataset=dict.fromkeys(names, scores))
    card = ModelCard(push(run, "me/run", dry_run=True).card)
    assert says in card.text and card.data.license == licence and "--data flows:maps.npz" in card.text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_is_published_and_reproduced(ended, tmp_path, quick, kind):
    changes, verdict = KINDS[kind]
    data = f"flows:{ended / 'maps.npz'}"
    protocol_run(tmp_path / "run", data=data, **TINY, **changes)
    plan = push(tmp_path / "run", "me/run", dry_run=True)
    assert f"{len(read_run(tmp_path / 'run').trainings)} networks are in this repository" in plan.card
    found = reproduce(str(tmp_path / "run"), data, show=False)
    assert found.matches and found.verdict in (verdict, "equal")
    assert all(name.endswith("_test_selected") == (kind == "test-selected") for name in found.published)
    assert ("test selected" in str(found)) == (kind == "test-selected")
    assert found.tolerance == (2e-2 if kind == "float16" else 1e-4)


@pytest.mark.parametrize("key", ["mmnet", pytest.param("facesleuth", marks=pytest.mark.slow)])
def test_a_run_on_prepared_faces_is_reproduced(tmp_path, key):
    rows = []
    for i, (label, field) in enumerate([("happy", trees.smile), ("surprise", trees.brow_raise)] * 2):
        trees.face_folder(tmp_path / f"c{i}", 1, 6, field=field)
        rows.append(f"c{i},p{i // 2},{label}")
    (tmp_path / "own.csv").write_text("\n".join(["path,subject,label", *rows]) + "\n")
    prepare(read_user_table(tmp_path / "own.csv"), tmp_path / "faces", workers=1)
    settings = {"model": key, "config": FACES[key].config, "processor": FACES[key].processor}
    protocol_run(tmp_path / "run", data=str(tmp_path / "faces"), **settings)
    assert read_run(tmp_path / "run").default == "seed0-own-p0"
    assert reproduce(str(tmp_path / "run"), str(tmp_path / "faces"), show=False).matches
    edited(tmp_path / "run/train_config.json", given="other clips")
    weights = tmp_path / "run/folds/seed0-own-p0/model.safetensors"
    state = load_file(weights)
    head = next(name for name in state if name.startswith("classifier") and name.endswith("bias"))
    save_file(state | {head: state[head] + torch.tensor([9.0, 0.0, 0.0])}, weights, {"format": "pt"})
    found = reproduce(str(tmp_path / "run"), str(tmp_path / "faces"), show=False)
    assert not found.matches and "The networks were given: other clips. Now: aligned faces" in str(found)


def test_a_checkpoint_and_a_run_are_told_apart(ended):
    assert is_run(ended / "run") and not is_run(ended / "run" / "folds" / "seed0-b-s1")
