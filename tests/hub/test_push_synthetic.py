import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastapi.responses import JSONResponse
from huggingface_hub import DatasetCard, HfApi, constants

from mer_hf.cli import main
from mer_hf.data.flow_files import FlowMaps, read_flow_maps, write_flow_maps
from mer_hf.hub.generated import read_generated
from mer_hf.hub.metadata import check_dataset_card
from mer_hf.hub.push_synthetic import push_synthetic
from mer_hf.synthetic.faces import FaceSettings
from mer_hf.synthetic.people import draw_people
from mer_hf.synthetic.record import content_sha256, make_record
from mer_hf.training.data import VALIDATION_SEED, draw_all
from mer_hf.training.samples import Faces, FlowMapSamples
from tests.hub.hub_server import serve
from tests.hub.test_push import POINTS
from tests.models.tiny import tiny_processor


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture(scope="session")
def drawn():
    return draw_people(3, seed=4)


@pytest.fixture
def maps(tmp_path, drawn):
    path = tmp_path / "maps.npz"
    write_flow_maps(path, FlowMaps(**drawn), make_record("people", drawn, seed=4, subjects=3))
    return path


def options(url):
    return {"endpoint": url, "token": "hf_local", "progress": False}


LOAD = """
import sys
sys.modules["mer_hf"] = None
import numpy as np
from datasets import load_dataset
repo, found = sys.argv[1:]
data = load_dataset(repo, split="train", revision="v1")
image = data.features[data.column_names[0]]
print(data.features["label"].names, image.dtype, data[0]["action_units"][0]["name"], sep=";")
data = data.with_format("numpy")
names = [name for name in data.column_names if name != "action_units"]
np.savez(found, **{name: np.stack([np.asarray(value) for value in data[name]]) for name in names})
"""


def loaded(url, tmp_path, repo="me/synthetic"):
    """What another process without the package gets from the Hub, and what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, repo, "found.npz"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "found.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}, done.stdout


def test_a_stranger_loads_the_maps_that_were_pushed(maps, drawn, tmp_path):
    with serve(tmp_path / "hub") as url:
        address = push_synthetic(maps, "me/synthetic", revision="v1", **options(url))
        assert address.startswith(f"{url}/datasets/me/synthetic/commit/")
        found, told = loaded(url, tmp_path)
    for name in ("flow", "label", "subject"):
        assert np.array_equal(found[name], drawn[name]), name
    assert set(found) >= {"seed", "index"}
    first = read_generated(maps).samples[0].expression
    assert told.strip() == f"['negative', 'positive', 'surprise'];uint8;{next(iter(first.activations))}"


def cached(folder, kind, seed=0, size=3):
    indices = range(0, size)
    return draw_all(kind, seed, size, indices, 0, cache_dir=str(folder))


@pytest.mark.parametrize("key", ["mmnet", "facesleuth"])
def test_faces_that_a_run_kept_are_published_as_they_are(tmp_path, key):
    kept = cached(tmp_path / "cache", Faces(tiny_processor(key)))
    with serve(tmp_path / "hub") as url:
        push_synthetic(tmp_path / "cache", "me/synthetic", revision="v1", **options(url))
        found, _ = loaded(url, tmp_path)
    assert np.array_equal(found["pixel_values"].astype(np.float16), kept["pixel_values"])
    assert found["label"].tolist() == kept["label"].tolist()
    assert ("estimated_action_units" in found) == ("action_units" in kept) == (key == "facesleuth")
    if key == "facesleuth":
        assert np.array_equal(found["estimated_action_units"], kept["action_units"])


def test_maps_of_other_settings_are_drawn_again_with_these_settings(tmp_path):
    cached(tmp_path, FlowMapSamples(tiny_processor("htnet"), {"muscle": 0.6, "class_shares": [0, 1, 0]}))
    plan = push_synthetic(tmp_path, "me/synthetic", dry_run=True)
    assert "'muscle': 0.6" in plan.card and "| train | 3 | - | 0 | 3 | 0 |" in plan.card


def test_the_held_out_set_of_a_cache_is_a_split_of_its_own(tmp_path):
    kind = FlowMapSamples(tiny_processor("htnet"))
    cached(tmp_path, kind, seed=0, size=5)
    cached(tmp_path, kind, seed=VALIDATION_SEED, size=2)
    plan = push_synthetic(tmp_path, "me/synthetic", dry_run=True)
    assert {name for name, _ in plan.files} == {
        "README.md", "data/train-00000.parquet", "data/validation-00000.parquet"
    }  # fmt: skip
    card = check_dataset_card(plan.card)
    assert [each["split"] for each in card.data.configs[0]["data_files"]] == ["train", "validation"]
    cached(tmp_path, Faces(tiny_processor("mmnet")))
    with pytest.raises(ValueError, match="these files hold different kinds of samples"):
        push_synthetic(tmp_path, "me/synthetic", dry_run=True)


def test_the_card_counts_what_is_in_the_file(maps, drawn):
    plan = push_synthetic(maps, "me/synthetic", dry_run=True)
    card = check_dataset_card(plan.card)
    counts = " | ".join(map(str, np.bincount(drawn["label"], minlength=3)))
    assert f"| train-00000.parquet | train | {len(drawn['label'])} | 3 | {counts} |" in card.text
    samples = read_generated(maps).samples
    positive = [sample.expression for sample in samples if sample.expression.label == 1]
    share = np.mean(["AU12" in each.activations for each in positive])
    row = next(line for line in card.text.splitlines() if line.startswith("| AU12 |"))
    assert row.split("|")[3].strip() == f"{share:.2f}"
    assert "seed 4, subjects 3" in card.text and "--subjects 3 --seed 4" in card.text
    assert "No recorded expression" in card.text and "AI Act" in card.text and "{{" not in card.text
    assert card.data.license == "apache-2.0" and card.data.size_categories == ["n<1K"]
    with pytest.raises(ValueError, match="license must be one the Hub knows"):
        check_dataset_card(plan.card.replace("license: apache-2.0", "license: free"))


def test_faces_say_whether_photographs_are_among_them(tmp_path, monkeypatch):
    cached(tmp_path, Faces(tiny_processor("mmnet")))
    assert "No photograph was used" in push_synthetic(tmp_path, "me/synthetic", dry_run=True).card
    settings = FaceSettings(photograph=0.25)
    monkeypatch.setattr("mer_hf.hub.push_synthetic.FaceSettings", lambda: settings)
    text = push_synthetic(tmp_path, "me/synthetic", dry_run=True).card
    assert "25% of the faces begin as a photograph that scikit-image carries (astronaut)" in text


def write(path, arrays, record):
    np.savez(path, **arrays, record=np.array(record))


def forged(drawn, **changes):
    """Arrays with a record that fits their contents, as somebody would write it by hand."""
    arrays = drawn | changes
    return arrays, make_record("people", arrays, seed=4, subjects=3)


def other_flow(drawn):
    flow = drawn["flow"].copy()
    flow[0] = 7
    return flow


def spoiled(record, **changes):
    return json.dumps(json.loads(record) | changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # Recordings in the same format: no record.
        (lambda p, d, r: np.savez(p, **d), "carries no record of the generator"),
        (lambda p, d, r: write(p, d, "{"), "carries no record of the generator"),
        (lambda p, d, r: write(p, d, '"text"'), "carries no record of the generator"),
        # Recordings put into a generated file, with its record and with one made to fit.
        (lambda p, d, r: write(p, d | {"flow": other_flow(d)}, r), "not those that the generator recorded"),
        (lambda p, d, r: write(p, *forged(d, flow=other_flow(d))), "sample 0 is not what"),
        (lambda p, d, r: write(p, *forged(d, label=2 - d["label"])), "classes are not those"),
        (lambda p, d, r: write(p, *forged(d, subject=np.flip(d["subject"]))), "sample 0 is not what"),
        (lambda p, d, r: write(p, d, spoiled(r, subjects=2)), "its record tells of"),
        (lambda p, d, r: write(p, d, spoiled(r, kind="clips")), "its record is damaged"),
        (lambda p, d, r: write(p, d, spoiled(r, seed="x")), "its record is damaged"),
        (lambda p, d, r: write(p, d, spoiled(r, fingerprint="0")), "drawn by another version"),
        (lambda p, d, r: p.write_bytes(p.read_bytes()[:900]), "is damaged or no .npz file"),
        (lambda p, d, r: p.unlink(), "holds no generated data"),
    ],
)  # fmt: skip
def test_what_is_not_provably_generated_is_refused(maps, drawn, spoil, message):
    spoil(maps, drawn, make_record("people", drawn, seed=4, subjects=3))
    with pytest.raises(ValueError, match=message) as caught:
        push_synthetic(maps, "me/synthetic", dry_run=True)
    assert "\n" not in str(caught.value)


def test_a_column_that_the_generator_does_not_draw_is_refused(maps, drawn):
    arrays = drawn | {"names": np.full(len(drawn["label"]), "Anna")}
    write(maps, arrays, make_record("people", arrays, seed=4, subjects=3))
    with pytest.raises(ValueError, match="it has other columns than the generator's"):
        push_synthetic(maps, "me/synthetic", dry_run=True)


def test_the_hash_of_contents_sees_names_types_and_shapes():
    base = {"a": np.zeros(4, np.uint8)}
    others = [{"b": base["a"]}, {"a": np.zeros(4, np.int8)}, {"a": np.zeros((2, 2), np.uint8)}]
    assert len({content_sha256(each) for each in [base, *others]}) == 4


@pytest.mark.parametrize("point", [name for name in POINTS if name != "create"])
def test_an_upload_that_breaks_leaves_nothing_half(maps, tmp_path, point):
    broken = [True]

    def fail(request):
        refuse = broken[0] and POINTS[point](request)
        return JSONResponse({"error": "out of order"}, 400) if refuse else None

    with serve(tmp_path / "hub", fail=fail) as url:
        api = HfApi(endpoint=url, token="x")
        with pytest.raises(ValueError, match="has not changed"):
            push_synthetic(maps, "me/synthetic", **options(url))
        assert api.list_repo_files("me/synthetic", repo_type="dataset") == [".gitattributes"]
        broken[0] = False
        push_synthetic(maps, "me/synthetic", **options(url))
        assert "data/train-00000.parquet" in api.list_repo_files("me/synthetic", repo_type="dataset")


def test_a_second_push_leaves_no_file_of_the_first(maps, tmp_path):
    kind = FlowMapSamples(tiny_processor("htnet"))
    for seed in (0, 1):
        cached(tmp_path / "cache", kind, seed=seed)
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="x")
        push_synthetic(tmp_path / "cache", "me/synthetic", **options(url))
        assert "data/train-00001.parquet" in api.list_repo_files("me/synthetic", repo_type="dataset")
        push_synthetic(maps, "me/synthetic", **options(url))
        files = api.list_repo_files("me/synthetic", repo_type="dataset")
        assert [name for name in files if name.startswith("data/")] == ["data/train-00000.parquet"]
        readme = api.hf_hub_download(
            "me/synthetic", "README.md", repo_type="dataset", cache_dir=tmp_path / "home"
        )
    assert "people who do not exist" in DatasetCard.load(readme).text


def test_the_commands_draw_a_file_and_say_what_would_be_published(tmp_path, capfd):
    path = tmp_path / "maps.npz"
    assert main(["synth-flows", "--subjects", "2", "--seed", "9", "--out", str(path)]) == 0
    assert read_flow_maps(path).subject.tolist()[0] == "s000"  # the record is in nobody's way
    assert main(["push-synthetic", str(path), "me/synthetic", "--dry-run"]) == 0
    assert "data/train-00000.parquet" in capfd.readouterr().out
    assert main(["push-synthetic", str(Path(__file__)), "me/synthetic", "--dry-run"]) == 2
    told = capfd.readouterr().err
    assert "mer-hf: error: " in told and "is damaged or no .npz file" in told and "pickle" not in told
