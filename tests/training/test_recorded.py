import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mer_hf.data.flow_files import FlowMaps, write_flow_maps
from mer_hf.data.prepare import prepare
from mer_hf.data.readers.own_table import read_user_table
from mer_hf.loading import load
from mer_hf.synthetic.people import draw_people
from mer_hf.training.augmentation import generator_of, mix_pairs, move_faces
from mer_hf.training.build import build_processor
from mer_hf.training.config import TrainingConfig, TrainingError
from mer_hf.training.loop import train
from mer_hf.training.optimization import layer_scales, make_optimizer, make_schedule
from mer_hf.training.recorded import RecordedSource, class_names_of, read_recorded
from tests.data import trees
from tests.models.tiny import TINY, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def maps_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    write_flow_maps(path, FlowMaps(**draw_people(4)))
    return path


def config_of(maps_file, **changes):
    settings = {"batch_size": 4, "processor": {"normalization": "standardize"}, **changes}
    return TrainingConfig(output_dir="unused", data=f"flows:{maps_file}", **settings)


def source(maps_file, rank=0, of=1, processes=1, rows=None, **changes):
    config = config_of(maps_file, **changes)
    data = read_recorded(config, build_processor(config))
    return RecordedSource(config, data, np.arange(10) if rows is None else rows, processes, rank, of)


def seen(batches):
    """Each sample of some batches as bytes, with its weight in the step."""
    return [
        (pixels.numpy().tobytes(), weight / len(batch["labels"]))
        for batch, weight in batches
        for pixels in batch["pixel_values"]
    ]


def test_an_epoch_shows_every_clip_once_and_its_last_batch_counts_fully(maps_file):
    data = source(maps_file)
    assert data.steps_per_epoch == 3
    batches = list(data.batches(0, 0))
    assert [len(batch["labels"]) for batch, _ in batches] == [4, 4, 2]
    assert [weight for _, weight in batches] == [1, 1, 1]
    assert len({key for key, _ in seen(batches)}) == 10
    assert {key for key, _ in seen(data.batches(1, 0))} == {key for key, _ in seen(batches)}
    assert seen(data.batches(1, 1)) == seen(data.batches(1, 0))[4:]


@pytest.mark.parametrize("processes", [1, 2])
def test_any_number_of_processes_works_on_the_same_global_batches(maps_file, processes):
    """Three processes take turns with the batches that one or two began with; weights make up for sizes."""
    whole = source(maps_file, of=processes, processes=processes, augment_noise=0.5)
    alone = [source(maps_file, 0, 1, processes, augment_noise=0.5).batches(0, 0)]
    shared = [source(maps_file, rank, 3, processes, augment_noise=0.5).batches(0, 0) for rank in range(3)]
    for _ in range(whole.steps_per_epoch):
        ((batch, weight),) = [next(each) for each in alone]
        parts = [next(each) for each in shared]
        expected = batch["pixel_values"].mean((1, 2, 3)).mean() * weight
        found = sum(part["pixel_values"].mean((1, 2, 3)).mean() * share for part, share in parts) / 3
        assert found == pytest.approx(float(expected), rel=1e-5)
        assert sum(share for _, share in parts) / 3 == pytest.approx(1)


def test_accumulated_parts_of_a_small_last_step_are_weighted_by_their_samples(maps_file):
    data = source(maps_file, gradient_accumulation_steps=3, rows=np.arange(14), batch_size=4)
    assert data.steps_per_epoch == 2
    last = list(data.batches(0, 1))
    assert [len(batch["labels"]) for batch, _ in last] == [1, 1, 1] and sum(
        w for _, w in last
    ) == pytest.approx(1)
    single = list(source(maps_file, gradient_accumulation_steps=3, rows=np.arange(13)).batches(0, 1))
    assert [weight for _, weight in single] == [1, 0, 0]


def test_balanced_and_listed_orders(maps_file):
    data = source(maps_file, sampling="listed")
    assert data.order(0).tolist() == data.order(5).tolist() == list(range(10))
    rows = np.arange(20)
    data = source(maps_file, sampling="balanced", rows=rows)
    labels = data.data.table.labels
    drawn = labels[np.concatenate([data.order(epoch) for epoch in range(200)])]
    present = np.unique(labels[rows])
    assert np.abs(np.bincount(drawn)[present] / len(drawn) - 1 / len(present)).max() < 0.03


def test_a_set_smaller_than_a_step_is_refused_only_if_the_last_is_dropped(maps_file):
    assert source(maps_file, batch_size=64).steps_per_epoch == 1
    with pytest.raises(
        TrainingError, match="--drop-last leaves nothing: 10 clips are less than one step of 64"
    ):
        source(maps_file, batch_size=64, drop_last=True)


def test_mixed_pairs_keep_their_shares(maps_file):
    batch, _ = next(source(maps_file, mixup=0.5).batches(0, 0))
    assert batch["labels"].shape == (4, 3) and torch.allclose(batch["labels"].sum(1), torch.ones(4))
    inputs = {"x": torch.arange(4.0)[:, None]}
    result, soft = mix_pairs(inputs, torch.tensor([0, 1, 2, 0]), 3, 0.4, np.random.default_rng(7))
    again, _ = mix_pairs(inputs, torch.tensor([0, 1, 2, 0]), 3, 0.4, np.random.default_rng(7))
    assert torch.equal(result["x"], again["x"])
    assert result["x"].mean() == pytest.approx(1.5) and soft.sum() == pytest.approx(4)


def test_class_names():
    assert class_names_of("five")[3] == "repression" and class_names_of("a, b") == ("a", "b")
    assert class_names_of(None) is None
    for wrong in ("a", "a,a", "a,"):
        with pytest.raises(TrainingError, match="--classes"):
            class_names_of(wrong)


def test_a_run_on_recorded_maps_ends_in_a_checkpoint(maps_file, tmp_path):
    config = config_of(maps_file, config={"hidden_size": 12, "depths": [1, 1, 1]}, epochs=2, mixup=0.2)
    steps = 2 * math.ceil(len(read_recorded(config, build_processor(config)).table) / 4)
    assert train(replace(config, output_dir=str(tmp_path / "run"))) == {"step": steps, "validation": {}}
    model, _ = load(str(tmp_path / "run"))
    assert model.config.id2label[1] == "positive"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Two people's faces, prepared."""
    top = tmp_path_factory.mktemp("faces")
    rows = []
    for i, (label, field) in enumerate([("happy", trees.smile), ("surprise", trees.brow_raise)] * 2):
        trees.face_folder(top / f"c{i}", 1, 6, field=field)
        rows.append(f"c{i},p{i // 2},{label}")
    (top / "own.csv").write_text("\n".join(["path,subject,label", *rows]) + "\n")
    prepare(read_user_table(top / "own.csv"), top / "out", workers=1)
    return top / "out"


@pytest.mark.parametrize("key", TINY)
def test_every_network_trains_on_prepared_faces(faces, tmp_path, key):
    config = TrainingConfig(
        output_dir=str(tmp_path / "run"), model=key, data=str(faces), epochs=1, batch_size=4,
        config=TINY[key].config, augmentation="faces", processor=TINY[key].processor,
    )  # fmt: skip
    data = read_recorded(config, tiny_processor(key))
    assert data.table.counts() == {"negative": 0, "positive": 2, "surprise": 2}
    assert set(data.extras) == {"action_units", "flow"} and data.extras["flow"].shape == (4, 28, 28, 3)
    assert "midpoint in 4 clips" in data.given and (data.inputs["pixel_values"].ndim == 5) == (key != "htnet")
    assert ("action_units" in data.inputs) == (key == "facesleuth")
    assert train(config) == {"step": 1, "validation": {}}
    assert load(config.output_dir)[0].config.num_labels == 3


def test_all_frames_of_a_clip_are_turned_alike():
    ramp = torch.linspace(0, 1, 32)[None, :].expand(32, 32)
    pixels = torch.stack([ramp, ramp + 1])[None, :, None].expand(6, 2, 3, 32, 32).clone()
    changed = move_faces({"pixel_values": pixels}, 3.0, 0, generator_of([1]))["pixel_values"]
    assert torch.allclose(
        changed[:, 1, :, 8:24, 8:24] - changed[:, 0, :, 8:24, 8:24], torch.ones(6, 3, 16, 16)
    )
    mirrored = changed[:, 0, 0, 16, 24] < changed[:, 0, 0, 16, 8]
    assert mirrored.any() and not mirrored.all()
    assert torch.equal(
        move_faces({"pixel_values": pixels}, 3.0, 0, generator_of([1]))["pixel_values"], changed
    )


def test_the_rates_fall_from_stage_to_stage():
    names = ["hsta.embeddings.0.projection.weight", "hsta.embeddings.0.class_token"]
    names += ["hsta.stages.0.w", "hsta.stages.3.w", "classifier.weight"]
    expected = [0.9**5, 1.0, 0.9**4, 0.9, 1.0]  # as the specification lists them for HSTA
    assert list(layer_scales(names, 0.9).values()) == pytest.approx(expected)


def test_other_rates_and_decays_reach_the_parameters_they_name(maps_file):
    model = tiny_model("htnet")
    config = config_of(
        maps_file, lr_of={"classifier": 0.5}, weight_decay_of={"classifier": 0.25}, decay_vectors=True
    )
    groups = make_optimizer(model, config).param_groups
    assert sorted((group["lr"], group["weight_decay"]) for group in groups) == [(0.001, 0.05), (0.5, 0.25)]
    with pytest.raises(TrainingError, match="--lr-of nowhere: no parameter's name contains it"):
        make_optimizer(model, config_of(maps_file, lr_of={"nowhere": 1}))


@pytest.mark.parametrize(
    ("changes", "step", "expected"),
    [
        ({"schedule": "exponential", "lr_decay": 0.9, "lr_decay_epochs": 2, "warmup_ratio": 0.0}, 9, 0.9),
        ({"schedule": "exponential", "lr_decay": 0.9, "lr_decay_epochs": 2, "warmup_ratio": 0.0}, 50, 0.81),
        ({"schedule": "constant", "warmup_ratio": 0.0}, 77, 1.0),
        ({"schedule": "cosine", "warmup_epochs": 2.0}, 8, 0.5),
        ({"schedule": "cosine", "warmup_ratio": 0.0, "min_lr": 1e-4}, 160, 0.1),
        ({"schedule": "cosine", "warmup_ratio": 0.0}, 80, 0.5),
    ],
)
def test_the_course_of_the_learning_rate(maps_file, changes, step, expected):
    config = config_of(maps_file, lr=1e-3, **changes)
    schedule = make_schedule(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1.0), config, 8, 160)
    assert schedule.lr_lambdas[0](step) == pytest.approx(expected)
