import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mer_hf.data.flow_files import read_flow_maps
from mer_hf.evaluation import evaluate
from mer_hf.evaluation.evaluate import append_log, evaluate_flow_maps, format_evaluation
from mer_hf.evaluation.metrics import confusion
from mer_hf.loading import load
from mer_hf.synthetic import SyntheticFlowMaps
from mer_hf.utils.provenance import sha256_of
from tests.models.tiny import tiny_model, tiny_processor


def arrays(clips=12, **changes):
    """Maps whose first pixel holds the class that `FirstPixel` answers."""
    rng = np.random.default_rng(0)
    made = {
        "flow": rng.integers(0, 256, (clips, 28, 28, 3), dtype=np.uint8),
        "label": np.arange(clips) % 3,
        "subject": np.array([f"s{index // 3}" for index in range(clips)]),
        "dataset": np.array(["a" if index < 6 else "b" for index in range(clips)]),
    }
    made["flow"][:, 0, 0, 0] = made["label"]
    made.update(changes)
    return {name: array for name, array in made.items() if array is not None}


def saved(tmp_path, **changes):
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays(**changes))
    return path


class FirstPixel(torch.nn.Module):
    """Answers the class written in the first pixel of a map."""

    def __init__(self, classes=("negative", "positive", "surprise")):
        super().__init__()
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(
            num_labels=len(classes), id2label=dict(enumerate(classes)), _name_or_path=""
        )
        self.batches = []

    def forward(self, pixel_values):
        assert not self.training
        self.batches.append(len(pixel_values))
        answer = pixel_values[:, 0, 0, 0].long().clamp(max=self.config.num_labels - 1)
        return SimpleNamespace(logits=torch.nn.functional.one_hot(answer, self.config.num_labels).double())


def to_pixels(flow_maps, return_tensors):
    assert return_tensors == "pt"
    return {"pixel_values": torch.from_numpy(flow_maps).permute(0, 3, 1, 2).float()}


def test_scores_are_those_of_the_pooled_predictions(tmp_path):
    truth = np.arange(12) % 3
    truth[[0, 6]] = 1  # the model answers 0 for both
    data = read_flow_maps(saved(tmp_path, label=truth, flow=arrays()["flow"]))
    result = evaluate_flow_maps(FirstPixel(), to_pixels, data, batch_size=5)
    assert result["confusion"] == [[2, 0, 0], [2, 4, 0], [0, 0, 4]]
    # F1: 2*2/(2*2+2), 2*4/(2*4+2), 1
    assert result["per_class_f1"] == pytest.approx({"negative": 2 / 3, "positive": 4 / 5, "surprise": 1.0})
    assert result["uf1"] == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)
    assert result["uar"] == pytest.approx((1 + 4 / 6 + 1) / 3)
    assert result["accuracy"] == pytest.approx(10 / 12)
    assert result["clips"] == 12 and result["subjects"] == 4
    assert result["uf1_interval"][0] <= result["uf1"] <= result["uf1_interval"][1]
    assert {name: part["clips"] for name, part in result["per_dataset"].items()} == {"a": 6, "b": 6}
    assert result["per_dataset"]["a"]["confusion"] == [[1, 0, 0], [1, 2, 0], [0, 0, 2]]
    assert json.loads(json.dumps(result)) == result


def test_a_subjects_name_is_its_own_in_each_dataset(tmp_path):
    data = read_flow_maps(saved(tmp_path, subject=np.array(["s1"] * 12)))
    assert evaluate_flow_maps(FirstPixel(), to_pixels, data)["subjects"] == 2


def test_one_subject_has_no_interval(tmp_path):
    data = read_flow_maps(saved(tmp_path, subject=np.array(["s1"] * 12), dataset=np.array(["a"] * 12)))
    result = evaluate_flow_maps(FirstPixel(), to_pixels, data)
    assert result["uf1"] == 1.0 and result["uf1_interval"] is None
    assert "uf1 -" in format_evaluation(result)


def test_batches_cover_every_map_once(tmp_path):
    model = FirstPixel()
    evaluate_flow_maps(model, to_pixels, read_flow_maps(saved(tmp_path)), batch_size=5)
    assert model.batches == [5, 5, 2]


def test_labels_outside_the_models_classes_are_refused(tmp_path):
    model = FirstPixel(("negative", "positive"))
    with pytest.raises(ValueError, match="label 2 is not one of the model's 2 classes"):
        evaluate_flow_maps(model, to_pixels, read_flow_maps(saved(tmp_path)))


def test_the_table_shows_every_class_and_dataset(tmp_path):
    data = read_flow_maps(saved(tmp_path))
    text = format_evaluation(evaluate_flow_maps(FirstPixel(), to_pixels, data, name="tiny"))
    assert text.splitlines()[0] == "model tiny"
    assert all(word in text for word in ("negative", "positive", "surprise", "all", "uf1 1.000 to 1.000"))
    assert len({len(line) for line in text.splitlines() if line.startswith(("all ", "a ", "b "))}) == 1


def test_a_look_is_appended_and_never_overwrites(tmp_path):
    log = tmp_path / "looks" / "log.jsonl"
    data = read_flow_maps(saved(tmp_path))
    result = evaluate_flow_maps(FirstPixel(), to_pixels, data)
    for turn in range(3):
        append_log(log, evaluate.look_record(FirstPixel(), data, {**result, "turn": turn}))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["turn"] for record in records] == [0, 1, 2]
    assert records[0]["file_sha256"] == sha256_of(data.source)
    assert records[0]["uf1"] == 1.0 and records[0]["weights_sha256"] is None
    assert records[0]["time"].endswith("+00:00")


def test_the_weights_are_named_by_the_hash_of_their_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    model = FirstPixel()
    model.config._name_or_path = str(tmp_path)
    # printf weights | sha256sum
    assert (
        evaluate.weights_sha256(model) == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    )


def test_a_saved_htnet_is_scored_and_named_by_its_weights(tmp_path):
    model, processor = tiny_model("htnet"), tiny_processor("htnet")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    maps = SyntheticFlowMaps(0, 6)
    samples = [maps[i] for i in range(6)]
    flow, label = np.stack([s["flow"] for s in samples]), np.array([s["label"] for s in samples])
    path = saved(
        tmp_path, flow=flow, label=label, subject=np.array(list("aabbcc")), dataset=np.array(["x"] * 6)
    )
    data, (loaded, its_processor) = read_flow_maps(path), load(tmp_path / "model")
    result = evaluate_flow_maps(loaded, its_processor, data)
    with torch.no_grad():
        expected = model(**processor(flow_maps=flow, return_tensors="pt")).logits.argmax(-1).numpy()
    assert result["confusion"] == confusion(expected, label, 3).tolist()
    assert result["model"] == str(tmp_path / "model")
    record = evaluate.look_record(loaded, data, result)
    assert record["weights_sha256"] == sha256_of(tmp_path / "model" / "model.safetensors")


def test_a_network_that_takes_faces_is_refused():
    with pytest.raises(ValueError, match="mmnet takes faces, which cannot be made from flow maps"):
        evaluate.predict_flow_maps(
            tiny_model("mmnet"), tiny_processor("mmnet"), np.zeros((1, 28, 28, 3), np.uint8)
        )
