import csv
import json
import pickle
import re
import shutil
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
from mer_hf.data.readers.own_table import read_user_table
from mer_hf.hub import push as module
from mer_hf.hub.push import push
from mer_hf.hub.reproduce import format_result, reproduce
from mer_hf.hub.runs import is_run, read_run
from mer_hf.registry import ARCHITECTURES
from mer_hf.training import cli as train_program
from mer_hf.utils.provenance import Note
from tests.data import trees
from tests.hub.conftest import TINY, run_alone
from tests.models.tiny import TINY as FACES
from tests.models.tiny import tiny_model, tiny_processor

ROOT = Path(__file__).resolve().parents[2]


def card_in(plan):
    """The card at the end of what a dry run prints."""
    return ModelCard(plan[plan.index("---\n") :])


@pytest.fixture
def run(ended, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(ended / "run", tmp_path / "run")


def files_of_run():
    return set(HfApi().list_repo_files("me/run"))


def test_a_run_is_one_commit_and_its_numbers_are_confirmed(ended, tmp_path, hub, quick):
    with hub():
        push(ended / "run", "me/run", revision="v1")
        commits = HfApi().list_repo_commits("me/run")
        assert [each.title for each in commits] == [
            "Upload a run of mer_hf with 6 networks",
            "initial commit",
        ]
        found = reproduce("me/run", f"flows:{ended / 'maps.npz'}", show=False)
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_symlink()}
    assert found["verdict"] == "matches" and found["matches"] and not found["differing"]
    assert found["trainings"] == 6 and found["clips"] == 16 and found["answers"] == 32
    assert found["published"] == found["recomputed"] and found["largest_difference"] < 1e-6
    assert fetched == {
        "config.json", "preprocessor_config.json", "model.safetensors", "train_config.json", "report.json",
        "splits.json", "predictions.csv",
    }  # fmt: skip


@pytest.mark.slow
def test_people_who_do_not_exist_from_drawing_to_reproducing(tmp_path, hub):
    people, run = tmp_path / "maps.npz", tmp_path / "run"
    assert main(["synth-flows", "--subjects", "3", "--out", str(people)]) == 0
    pairs = [f"{key}={json.dumps(value)}" for key, value in TINY["config"].items()]
    arguments = ["--output-dir", str(run), "--data", f"flows:{people}", "--protocol", "loso", "--epochs", "2"]
    assert train_program.main([*arguments, "--baselines", "no", "--config", *pairs]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    with hub():
        push(run, "me/run")
        assert reproduce("me/run", f"flows:{people}", show=False)["matches"]


def test_what_is_published_is_listed_and_names_no_label_and_no_place(ended, hub, quick):
    for name in ("face.png", "notes.txt"):
        (ended / "run" / "folds" / "seed0-b-s1" / name).write_text("anna")
    with hub():
        push(ended / "run", "me/run")
        names = files_of_run()
        folder = Path(HfApi().snapshot_download("me/run"))
    folds = {f"seed{seed}-{fold}" for seed in (0, 1) for fold in ("a-s0", "b-s1", "b-s2")}
    per_fold = {"config.json", "preprocessor_config.json", "model.safetensors"}
    root = {
        "README.md",
        "report.json",
        "train_config.json",
        "video_preprocessor_config.json",
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


def test_the_root_is_the_fold_that_was_trained_on_most_clips_and_the_card_says_so(ended, quick):
    plan = push(ended / "run", "me/run", dry_run=True)
    lines = [line.split() for line in plan.partition("in all")[0].splitlines()[1:]]
    sizes = {line[1]: line[0] for line in lines if len(line) == 2}
    assert read_run(ended / "run").default == "seed0-b-s2"  # b/s2 has four clips, the others six
    assert sizes["model.safetensors"] == sizes["folds/seed0-b-s2/model.safetensors"]
    card, report = card_in(plan), json.loads((ended / "run" / "report.json").read_text())
    assert {each.metric_type: each.metric_value for each in card.data.eval_results} == {
        "f1": report["uf1"],
        "recall": report["uar"],
        "accuracy": report["accuracy"],
    }
    assert "This repository contains 6 networks" in card.text and "# run\n" in card.text
    assert '"me/run", subfolder="folds/seed0-b-s2", trust_remote_code=True' in card.text
    assert "mer-hf reproduce me/run --data flows:FILE.npz" in card.text


def test_a_checkpoint_has_no_section_on_folds(tmp_path, quick):
    tiny_model("htnet").save_pretrained(tmp_path / "one")
    tiny_processor("htnet").save_pretrained(tmp_path / "one")
    plan = push(tmp_path / "one", "me/run", dry_run=True)
    assert "## Folds" not in plan and "folds/" not in plan


@pytest.mark.slow
def test_a_run_is_checked_by_a_clean_process(ended, monkeypatch):
    monkeypatch.setattr(module, "render_picture", lambda *_: "")
    assert main(["push", str(ended / "run"), "me/run", "--dry-run"]) == 0
    add_folds = module.add_folds

    def halve_the_weights(run, folder):
        add_folds(run, folder)
        other = folder / "folds" / run.other() / "model.safetensors"
        state = load_file(other)
        other.unlink()  # it may be the run's own file under another name
        save_file({name: tensor * 0.5 for name, tensor in state.items()}, other, {"format": "pt"})

    monkeypatch.setattr(module, "add_folds", halve_the_weights)
    with pytest.raises(ValueError, match="logits of folds/seed0-a-s0 differ from its source"):
        push(ended / "run", "me/run", dry_run=True)


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
        r"cannot be published: 1 of 6 folds have no weights \(seed1-b-s1\)",
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
        "was trained with --drop-fold-weights: train it again",
    ),
    "no report": (lambda run: (run / "report.json").unlink(), "lacks report.json. Is the run finished"),
    "no log": (lambda run: (run / "predictions.csv").unlink(), "there is no .*predictions.csv"),
    "report of another log": (
        lambda run: edited(run / "report.json", uf1=0.99),
        "says uf1 0.99, but its log gives",
    ),
    "pickle": (
        lambda run: (run / "folds/seed0-b-s1/model.safetensors").write_bytes(pickle.dumps({})),
        "seed0-b-s1.*is not valid safetensors",
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
    "shapes": (with_other_shapes, r"seed1-b-s1: the checkpoint has another shape or type for"),
    "processor": (
        lambda run: edited(run / "folds/seed1-b-s2/preprocessor_config.json", mosaic="original"),
        "the folds seed0-a-s0 and seed1-b-s2 have different image processors",
    ),
    "classes": (
        lambda run: edited(
            run / "folds/seed1-b-s2/config.json",
            id2label={"0": "surprise", "1": "negative", "2": "positive"},
            label2id={"surprise": 0, "negative": 1, "positive": 2},
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


def test_an_upload_that_breaks_publishes_no_fold_and_a_second_push_leaves_no_old_one(run, hub, quick):
    broken = [True]

    def fail(request):
        if broken[0] and "/commit/" in request.url.path:
            return JSONResponse({"error": "out of order"}, 400)
        return None

    with hub(fail):
        with pytest.raises(ValueError, match="has not changed"):
            push(run, "me/run")
        assert files_of_run() == {".gitattributes"}
        with pytest.raises(ValueError, match=r"has no splits\.json, so it is not a published run"):
            reproduce("me/run", "flows:x.npz", show=False)
        broken[0] = False
        push(run, "me/run")
        assert "folds/seed1-b-s2/model.safetensors" in files_of_run()
        push(run / "folds" / "seed1-b-s2", "me/run")  # now a checkpoint alone
        assert not [name for name in files_of_run() if name.startswith("folds/")]


def test_reproducing_a_folder_says_what_differs(ended, run, capfd):
    data = f"flows:{ended / 'maps.npz'}"
    assert main(["reproduce", str(run), "--data", data]) == 0
    assert (
        "\nIt matches: 0 of 32 predictions differ; probabilities differ by at most" in capfd.readouterr().out
    )
    weights = run / "folds" / "seed1-b-s1" / "model.safetensors"
    state = load_file(weights)
    save_file({name: tensor * (1 + 1e-6) for name, tensor in state.items()}, weights, {"format": "pt"})
    assert reproduce(str(run), data, show=False)["verdict"] == "matches"
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
    assert re.search(r"\n1 +b/s1/000006 +(negative|positive) +surprise +0\.\d+\n", capfd.readouterr().out)


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
    ("column", "change", "differing"),
    [
        ("p_surprise", lambda value: float(value) + 0.0009, 1),
        ("p_surprise", lambda value: float(value) + 0.00001, 0),
    ],
)
def test_one_row_that_was_published_otherwise_is_found(ended, run, capfd, column, change, differing):
    with open(run / "predictions.csv", newline="") as file:
        value = next(csv.DictReader(file))[column]
    with_row(run / "predictions.csv", **{column: change(value)})
    assert main(["reproduce", str(run), "--data", f"flows:{ended / 'maps.npz'}"]) == differing
    text = capfd.readouterr().out
    assert f"{differing} of 32 predictions differ" in text and ("\n0     a/s0/000000" in text) == bool(
        differing
    )


def test_probabilities_that_are_not_numbers_never_match(ended, run):
    data, weights = f"flows:{ended / 'maps.npz'}", run / "folds/seed0-a-s0/model.safetensors"
    state = load_file(weights)
    save_file({name: tensor * torch.nan for name, tensor in state.items()}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"its tensor \S+ holds NaN or infinity"):
        reproduce(str(run), data, show=False)
    save_file(state, weights, {"format": "pt"})
    with_row(run / "predictions.csv", p_surprise="nan")
    with pytest.raises(ValueError, match="fold a-s0 predicted NaN or inf"):
        reproduce(str(run), data, show=False)
    with pytest.raises(ValueError, match="fold a-s0 predicted NaN or inf"):
        push(run, "me/run", dry_run=True)


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("prediction", {"surprise": "negative"}, "a prediction that is not its largest probability"),
        ("label", {"surprise": "negative"}, "subjects or labels are not those of the clips"),
        ("selection", {}, "mixes ways to choose an epoch"),
    ],
)
def test_a_log_that_contradicts_its_run_is_refused(ended, run, column, change, message):
    with open(run / "predictions.csv", newline="") as file:
        value = next(csv.DictReader(file))[column]
    with_row(run / "predictions.csv", **{column: change.get(value, "surprise")})
    with pytest.raises(ValueError, match=message):
        reproduce(str(run), f"flows:{ended / 'maps.npz'}", show=False)


def test_numbers_that_are_not_those_of_the_predictions_do_not_match(ended, run, capfd):
    edited(run / "report.json", uf1=0.99)
    assert main(["reproduce", str(run), "--data", f"flows:{ended / 'maps.npz'}"]) == 1
    text = capfd.readouterr().out
    assert "It does not match: 0 of 32 predictions differ" in text and "0.990000" in text


def changed(data, **arrays):
    return replace(data, **arrays)


OTHER_DATA = {
    "fewer clips": (
        lambda d: FlowMaps(d.flow[:-1], d.label[:-1], d.subject[:-1], d.dataset[:-1]),
        r"lacks 1 clips: b/s2/000015",
    ),
    "more clips": (
        lambda d: FlowMaps(*(np.concatenate([a, a[-1:]]) for a in (d.flow, d.label, d.subject, d.dataset))),
        r"has unpublished 1 clips: b/s2/000016",
    ),
    "other labels": (
        lambda d: changed(d, label=np.where(np.arange(16) == 3, 1, d.label)),
        "has the published clips with other subjects or labels",
    ),
    "labels exchanged": (
        lambda d: changed(d, label=d.label[[1, 0, *range(2, 16)]]),
        "has the published clips with other subjects or labels",
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
    "no digest": (
        lambda run: edited(run / "report.json", splits_sha256=None),
        "is not the split that report.json was computed with",
    ),
    "missing fold": (lambda run: shutil.rmtree(run / "folds/seed1-b-s1"), "lacks 1 folds: seed1-b-s1"),
    "missing weights": (
        lambda run: (run / "folds/seed1-b-s1/model.safetensors").unlink(),
        "lacks 1 folds: seed1-b-s1",
    ),
    "other split": (
        lambda run: edited(run / "splits.json", more={"train": [], "test": []}),
        "is not the split that report.json was computed with",
    ),
    "rows": (
        lambda run: (run / "predictions.csv").write_text(
            "\n".join((run / "predictions.csv").read_text().splitlines()[:-1]) + "\n"
        ),
        r"splits.json and predictions.csv disagree on 1 rows, .*'1', 'b-s2', 'b/s2/000015'",
    ),
    "classes": (
        lambda run: edited(
            run / "folds/seed0-b-s1/config.json",
            id2label={"0": "surprise", "1": "negative", "2": "positive"},
            label2id={"surprise": 0, "negative": 1, "positive": 2},
        ),
        "fold b-s1 has other classes than the run",
    ),
    "no run": (lambda run: (run / "splits.json").unlink(), "has no splits.json"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_publication_is_told(ended, run, how):
    spoil, message = DAMAGED[how]
    spoil(run)
    with pytest.raises(ValueError, match=message) as caught:
        reproduce(str(run), f"flows:{ended / 'maps.npz'}", show=False)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_not_there_and_a_hub_that_is_not_reached_are_named(tmp_path, hub, monkeypatch):
    with hub() as url, pytest.raises(ValueError, match=f"there is no model me/none at {url}"):
        reproduce("me/none", "flows:x.npz", show=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"not completely\) in the cache, and http://127\.0\.0\.1:9 was not"):
        reproduce("me/none", "flows:x.npz", show=False)
    with pytest.raises(ValueError, match="invalid repository id 'none'"):
        reproduce("none", "flows:x.npz", show=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no revisions"):
        reproduce(str(tmp_path / "empty"), "flows:x.npz", revision="v1", show=False)


def test_what_the_cache_has_is_used_where_the_hub_is_not_reached(ended, hub, quick, monkeypatch):
    data, broken = f"flows:{ended / 'maps.npz'}", [True]

    def fail(request):
        if broken[0] and request.method == "GET" and "seed1-b-s1/model.safetensors" in request.url.path:
            return JSONResponse({"error": "out of order"}, 400)
        return None

    with hub(fail):
        push(ended / "run", "me/run")
        with pytest.raises(ValueError, match="files that are downloaded already are kept"):
            reproduce("me/run", data, show=False)
        with monkeypatch.context() as offline:
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            for name in ("me/run", "me/other"):
                message = rf"{name} is not \(or not completely\) in the cache, and HF_HUB_OFFLINE is set"
                with pytest.raises(ValueError, match=message):
                    reproduce(name, data, show=False)
        broken[0] = False
        assert reproduce("me/run", data, show=False)["matches"]
    with pytest.warns(Note, match="was not reached .* using me/run from the cache"):
        assert reproduce("me/run", data, show=False)["matches"]


KINDS = {
    "float16": {"dtype_on_disk": "float16"},
    "test-selected": {"selection": "oracle-epoch"},
    "parts": {"protocol": "kfold", "folds": 2},
    "datasets": {"protocol": "cross"},
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
    card = card_in(push(run, "me/run", dry_run=True))
    assert says in card.text and card.data.license == licence and "--data flows:maps.npz" in card.text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_is_published_and_reproduced(ended, tmp_path, quick, kind):
    data = f"flows:{ended / 'maps.npz'}"
    run_alone(output_dir=str(tmp_path / "run"), data=data, epochs=2, **TINY, **KINDS[kind])
    plan = push(tmp_path / "run", "me/run", dry_run=True)
    assert f"This repository contains {len(read_run(tmp_path / 'run').trainings)} networks" in plan
    found = reproduce(str(tmp_path / "run"), data, show=False)
    assert found["matches"] and found["tolerance"] == (2e-2 if kind == "float16" else 1e-4)
    assert all(name.endswith("_test_selected") == (kind == "test-selected") for name in found["published"])
    assert ("test selected" in format_result(found)) == (kind == "test-selected")


@pytest.mark.parametrize("key", ["mmnet", pytest.param("facesleuth", marks=pytest.mark.slow)])
def test_a_run_on_prepared_faces_is_reproduced(tmp_path, key):
    rows = []
    for i, (label, field) in enumerate([("happy", trees.smile), ("surprise", trees.brow_raise)] * 2):
        trees.face_folder(tmp_path / f"c{i}", 1, 6, field=field)
        rows.append(f"c{i},p{i // 2},{label}")
    (tmp_path / "own.csv").write_text("\n".join(["path,subject,label", *rows]) + "\n")
    prepare(read_user_table(tmp_path / "own.csv"), tmp_path / "faces", workers=1)
    settings = {"model": key, "config": FACES[key].config, "processor": FACES[key].processor}
    run_alone(output_dir=str(tmp_path / "run"), data=str(tmp_path / "faces"), epochs=2, **settings)
    assert read_run(tmp_path / "run").default == "seed0-own-p0"
    assert reproduce(str(tmp_path / "run"), str(tmp_path / "faces"), show=False)["matches"]
    edited(tmp_path / "run/train_config.json", given="other clips")
    weights = tmp_path / "run/folds/seed0-own-p0/model.safetensors"
    state = load_file(weights)
    head = next(name for name in state if name.startswith("classifier") and name.endswith("bias"))
    save_file(state | {head: state[head] + torch.tensor([9.0, 0.0, 0.0])}, weights, {"format": "pt"})
    found = reproduce(str(tmp_path / "run"), str(tmp_path / "faces"), show=False)
    assert not found["matches"]
    assert "Input of the networks in the run: other clips. Now: aligned faces" in format_result(found)


def test_a_checkpoint_and_a_run_are_told_apart(ended):
    assert is_run(ended / "run") and not is_run(ended / "run" / "folds" / "seed0-b-s1")
