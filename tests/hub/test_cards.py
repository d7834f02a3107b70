import csv
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fastapi.responses import JSONResponse
from huggingface_hub import HfApi, ModelCard, constants, parse_eval_result_entries
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mer_hf.cli import main
from mer_hf.data.flow_files import FlowMaps, write_flow_maps
from mer_hf.hub import push as push_module
from mer_hf.hub.cards import model_card, texts_folder
from mer_hf.hub.folder import PICTURE, assemble, pictures_of, read_source
from mer_hf.hub.origin import public_record, training_facts
from mer_hf.hub.picture import WIDTH, render_picture
from mer_hf.hub.push import push
from mer_hf.hub.scores import eval_entries, eval_results, table_text, with_tables
from mer_hf.loading import CHECKPOINTS, bundled
from mer_hf.registry import ARCHITECTURES
from mer_hf.training.config import parse_args
from tests.hub.conftest import TINY, run_alone
from tests.models.tiny import tiny_model, tiny_processor

REPORT = {
    "protocol": "loso", "selection": "last", "model": "htnet", "seeds": [0, 1], "clips": 442, "subjects": 68,
    "uf1": 0.61234, "uar": 0.6, "accuracy": 0.7, "uf1_interval": [0.5, 0.7], "uar_interval": [0.5, 0.7],
    "accuracy_interval": None, "per_dataset": {"casme2": {}, "samm": {}},
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path):
    return saved(tmp_path / "checkpoint")


def saved(folder, key="htnet", record=None, report=None):
    tiny_model(key).save_pretrained(folder)
    tiny_processor(key).save_pretrained(folder)
    record = {"data": "synthetic", "seed": 0} if record is None else record
    (folder / "train_config.json").write_text(json.dumps(record))
    if report:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def card_of(folder):
    return model_card(read_source(folder), "me/tiny")


def numbers_of(card):
    """Name of the metric -> value, from the model's index."""
    return {each.metric_name: each.metric_value for each in card.data.eval_results or []}


@pytest.mark.parametrize("key", ARCHITECTURES)
def test_every_card_is_valid_and_its_numbers_are_those_of_the_report(tmp_path, key):
    card = card_of(saved(tmp_path / "checkpoint", key, report=REPORT))
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0" and data["pipeline_tag"] == "video-classification"
    assert data["library_name"] == "transformers" and key in data["tags"]
    assert data["metrics"] == ["f1", "recall", "accuracy"]
    assert numbers_of(card) == {
        "UF1 (macro F1)": 0.61234, "UAR (balanced accuracy)": 0.6, "accuracy": 0.7
    }  # fmt: skip
    assert "| UF1 (macro F1) | 0.612 | 0.500 to 0.700 |" in card.text
    assert "AI Act" in card.text and "not use it to detect lies" in card.text and "{{" not in card.text


@pytest.mark.parametrize(
    "folder", sorted(CHECKPOINTS.glob("*/config.json")), ids=lambda path: path.parent.name
)
def test_the_cards_of_the_bundled_checkpoints_are_valid(folder):
    card = model_card(read_source(folder.parent), "me/model")
    assert card.data.license == "apache-2.0" and "no recorded expression" in card.text
    assert "accelerate launch train.py" in card.text


@pytest.fixture(scope="module")
def protocol_run(tmp_path_factory):
    """A run of seconds on two data sets, and one of its checkpoints with the report."""
    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    label = np.arange(24) % 3
    flow = rng.integers(90, 160, (24, 28, 28, 3), dtype=np.uint8)
    flow[label == 1, :14] += 25
    who = np.arange(24) // 6
    names = np.array([f"s{i}" for i in who]), np.array(["casme2" if i < 2 else "own" for i in who])
    write_flow_maps(folder / "maps.npz", FlowMaps(flow, label, *names))
    run_alone(
        output_dir=str(folder / "run"), data=f"flows:{folder / 'maps.npz'}", epochs=2,
        config=TINY["config"] | {"hidden_dropout_prob": 0.1}, processor=TINY["processor"],
    )  # fmt: skip
    fold = folder / "run" / "folds" / "seed0-own-s3"
    shutil.copy(folder / "run" / "report.json", fold)
    return folder / "run", fold


def from_the_log(run):
    """Metrics of a run as scikit-learn computes them from predictions.csv."""
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    true, found = ([row[name] for row in rows] for name in ("label", "prediction"))
    options = {"labels": ["negative", "positive", "surprise"], "average": "macro", "zero_division": 0}
    return {
        "UF1 (macro F1)": f1_score(true, found, **options),
        "UAR (balanced accuracy)": recall_score(true, found, **options),
        "accuracy": accuracy_score(true, found),
    }


def test_the_numbers_of_a_card_are_what_scikit_learn_computes_from_the_log(protocol_run):
    run, fold = protocol_run
    expected = from_the_log(run)
    card = card_of(fold)
    assert numbers_of(card) == pytest.approx(expected, abs=1e-12)
    for title, value in expected.items():
        assert f"| {title} | {value:.3f} |" in card.text
    entries = parse_eval_result_entries(yaml.safe_load(eval_entries(json.loads(
        (fold / "report.json").read_text()), "me/benchmark")))  # fmt: skip
    assert [each.value for each in entries] == pytest.approx(list(expected.values()), abs=1e-12)
    assert {each.dataset_id for each in entries} == {"me/benchmark"}
    assert "| CASME II | signed form, academic use, no redistribution |" in card.text
    assert "| own | what its owner agreed to" in card.text  # a set that the table does not know
    assert card.data.license == "cc-by-nc-4.0" and str(run.parent) not in card.text


@pytest.mark.parametrize("key", ["uf1", "uar", "accuracy"])
def test_a_number_that_changes_in_the_report_changes_the_card(checkpoint, key):
    (checkpoint / "report.json").write_text(json.dumps(REPORT))
    before = card_of(checkpoint)
    (checkpoint / "report.json").write_text(json.dumps(REPORT | {key: 0.12345}))
    after = card_of(checkpoint)
    assert "| 0.123 |" in after.text and "0.123" not in before.text
    assert 0.12345 in numbers_of(after).values() and 0.12345 not in numbers_of(before).values()
    assert "0.12345" in eval_entries(REPORT | {key: 0.12345}, "me/benchmark")


def test_a_run_on_generated_motion_shows_its_held_out_score(checkpoint):
    assert numbers_of(card_of(checkpoint)) == {}
    scores = {"samples": 400, "uf1": 0.864, "uar": 0.862, "accuracy": 0.87}
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "validation": scores}]
    (checkpoint / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = card_of(checkpoint)
    assert sorted(numbers_of(card).values()) == [0.862, 0.864, 0.87]
    assert {each.dataset_type for each in card.data.eval_results} == {"synthetic"}
    assert "On 400 held-out generated samples" in card.text and "not been measured on recordings" in card.text


def test_tables_of_an_evaluation_are_rendered_as_they_are(checkpoint):
    table = {"title": "Turns", "columns": ["turn", "uf1"], "rows": [["10 deg", 0.51239], ["none", None]]}
    (checkpoint / "evaluation.json").write_text(json.dumps([table | {"note": "300 clips."}]))
    text = card_of(checkpoint).text
    assert (
        "**Turns**\n\n| turn | uf1 |\n| --- | --- |\n| 10 deg | 0.512 |\n| none | - |\n\n300 clips." in text
    )
    for wrong in ({"title": "x"}, table | {"rows": [["one cell"]]}):
        with pytest.raises(ValueError, match=r"evaluation\.json(: columns must be| needs)"):
            table_text(wrong)
    (checkpoint / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match=r"evaluation\.json is not valid JSON"):
        card_of(checkpoint)


def test_a_card_shows_the_latest_tables_where_it_is_marked():
    table = {"title": "T", "columns": ["a", "b"], "rows": [["1", "2"]], "note": "seed 5"}
    card = "before <!-- measured -->old<!-- /measured --> after"
    shown = with_tables(card, [table, table | {"title": "U"}])
    assert shown.startswith("before <!-- measured -->") and shown.endswith("<!-- /measured --> after")
    assert "old" not in shown and "**U**" in shown and shown.count("| 1 | 2 |") == 2
    assert shown.count("seed 5") == 1
    assert with_tables(shown, [table, table | {"title": "U"}]) == shown
    for unmarked in ("no mark", "<!-- measured --> never closed"):
        assert with_tables(unmarked, [table]) == unmarked


def test_test_selected_numbers_are_not_results_of_the_card(checkpoint):
    selected = {k: v for k, v in REPORT.items() if k[:3] not in ("uf1", "uar", "acc")}
    selected |= {f"{name}_test_selected": 0.9 for name in ("uf1", "uar", "accuracy")}
    selected |= {f"{name}_test_selected_interval": [0.8, 0.95] for name in ("uf1", "uar", "accuracy")}
    assert eval_results(selected, {}) == [] and eval_results({}, {}) == []
    for report in (selected, {}):
        with pytest.raises(ValueError, match="there is no measurement to publish for me/benchmark"):
            eval_entries(report, "me/benchmark")
    (checkpoint / "report.json").write_text(json.dumps(selected))
    card = card_of(checkpoint)
    assert card.data.eval_results is None
    assert (
        "these numbers are not a measurement" in card.text and "UF1 (macro F1) (test-selected)" in card.text
    )


@pytest.mark.parametrize(
    ("record", "licence", "words"),
    [
        ({"data": "synthetic"}, "apache-2.0", "**It was trained on no recorded expression**"),
        ({"data": "a", "init_from": "htnet-synthetic"}, "cc-by-nc-4.0", "starting from `htnet-synthetic`"),
        (
            {"data": "synthetic", "recipe": "hsta-synthetic", "init_from": "build/hsta-synthetic-first"},
            "apache-2.0",
            "**It was trained on no recorded expression**",
        ),
        # What other weights were begun from may have seen recordings.
        (
            {"data": "synthetic", "recipe": "hsta-synthetic", "init_from": "me/x"},
            "cc-by-nc-4.0",
            "on generated motion, starting from `me/x`",
        ),
        ({}, "cc-by-nc-4.0", "How it was trained is not known."),
    ],
)
def test_the_licence_follows_what_was_trained_on(tmp_path, record, licence, words):
    card = card_of(saved(tmp_path / "checkpoint", record=record))
    assert card.data.license == licence and words in card.text


def test_every_data_set_that_is_read_has_its_agreement_in_the_table():
    from mer_hf.data.readers import READERS

    known = yaml.safe_load((texts_folder() / "datasets.yaml").read_text())
    composites = {"megc2019", "table"}  # their clips carry the names of their own sets
    assert set(READERS) - composites <= set(known)
    for row in known.values():
        assert set(row) == {"title", "ask", "terms"} and "no redistribution" in row["terms"]


def test_the_command_of_a_card_makes_the_same_run():
    flags = [
        "--model",
        "mmnet",
        "--epochs",
        "3",
        "--seed",
        "5",
        "--config",
        "x=[1, 2]",
        "y=word",
        "--output-dir",
        "o",
    ]
    flags += ["--data", "flows:/srv/anna/maps.npz", "--protocol", "loso", "--num-seeds", "2"]
    config = parse_args(flags)
    facts = training_facts(config.stored() | {"commit": "abc", "mer_hf": "1"}, [])
    assert facts["seeds"] == [5, 6] and "anna" not in facts["command"]
    command = facts["command"].replace("\\\n", " ")
    again = parse_args(shlex.split(command)[3:])
    assert replace(again, output_dir="o", data=config.data) == config


def test_no_folder_of_this_machine_is_published(tmp_path):
    record = {"data": "/srv/anna/casme2,/srv/anna/samm", "init_from": "/srv/anna/start", "seed": 3}
    folder = saved(tmp_path / "checkpoint", record=record)
    (tmp_path / "out").mkdir()
    assemble(read_source(folder), tmp_path / "out")
    published = json.loads((tmp_path / "out" / "train_config.json").read_text())
    assert published == {"data": "casme2,samm", "init_from": "start", "seed": 3}
    assert "anna" not in card_of(folder).text and "starting from `start`" in card_of(folder).text
    assert public_record({}) == {}


def test_the_hub_is_asked_before_anything_is_sent(checkpoint, hub, quick):
    asked = []

    def fail(request):
        asked.append(request.url.path)
        refuse = request.url.path == "/api/validate-yaml"
        return JSONResponse({"errors": [{"message": "bad colour"}]}, 400) if refuse else None

    with hub(fail) as url:
        with pytest.raises(ValueError, match=r"the Hub refuses the card's metadata: .*bad colour"):
            push(checkpoint, "me/tiny")
        assert asked == ["/api/validate-yaml"]
        assert not HfApi().repo_exists("me/tiny")
    with hub():  # one that does not refuse
        assert push(checkpoint, "me/tiny").startswith(f"{constants.ENDPOINT}/me/tiny/commit/")
    assert url != constants.ENDPOINT


def test_a_benchmark_adds_its_results_to_the_one_commit(checkpoint, hub, quick):
    (checkpoint / "report.json").write_text(json.dumps(REPORT))
    with hub():
        push(checkpoint, "me/tiny", benchmark="me/Bench")
        api = HfApi()
        assert len(api.list_repo_commits("me/tiny")) == 2  # one made the repository
        path = api.hf_hub_download("me/tiny", ".eval_results/bench.yaml")
        card = ModelCard.load(api.hf_hub_download("me/tiny", "README.md"))
    entries = parse_eval_result_entries(yaml.safe_load(Path(path).read_text()))
    assert [each.value for each in entries] == [0.61234, 0.6, 0.7]
    assert entries[0].task_id == "micro-expression-recognition-uf1" and "442 clips" in entries[0].notes
    assert card.data.datasets == ["me/Bench"]
    with pytest.raises(ValueError, match="invalid repository id 'bench'"):
        push(checkpoint, "me/tiny", benchmark="bench", dry_run=True)


@pytest.mark.slow
def test_the_picture_is_wide_the_same_every_time_and_may_leave(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        says = render_picture(bundled("htnet-synthetic"), tmp_path / name)
    first, second = ((tmp_path / name / PICTURE).read_bytes() for name in ("first", "second"))
    assert first == second and set(pictures_of(tmp_path / "first")) == {PICTURE}
    with Image.open(tmp_path / "first" / PICTURE) as picture:
        assert picture.width == WIDTH and 600 < picture.height < 900
    assert "person who does not exist" in says and "answers positive" in says


def test_a_plan_shows_the_card_with_its_picture(checkpoint, capfd, monkeypatch):
    monkeypatch.setattr(push_module, "check", lambda *_: None)
    assert main(["push", str(checkpoint), "me/tiny", "--dry-run"]) == 0
    told = capfd.readouterr().out
    assert "prediction.png" in told and "pictures.json" in told
    assert f"![The prediction on a generated clip]({PICTURE})" in told and "A generated clip of" in told
    assert not (checkpoint / PICTURE).exists()  # the source stays as it was


def test_the_snippets_of_a_card_run(example_file, tmp_path, monkeypatch, capsys):
    """As a reader of a pushed checkpoint copies them, with its folder in place of its name on the Hub."""
    folder = tmp_path / "folder"
    folder.mkdir()
    source = read_source(bundled("htnet-synthetic"))
    card = str(model_card(source, "me/tiny"))
    assemble(source, folder)
    shutil.copyfile(example_file("positive"), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(blocks) == 3
    scope = {"faces": np.zeros((20, 224, 224, 3), np.uint8)}
    for block in blocks:
        exec(block.replace("me/tiny", str(folder)), scope)
    own, stock = capsys.readouterr().out.splitlines()
    assert own.startswith("micro_expression positive") and "'label': 'positive'" in stock
    assert scope["logits"].shape == (1, 3)


def test_a_bundled_checkpoint_is_pushed_by_its_name(quick, capsys):
    main(["push", "mmnet-synthetic", "me/mmnet", "--dry-run"])
    shown = capsys.readouterr().out
    assert "video_processing_mmnet.py" in shown and "video_preprocessor_config.json" in shown
