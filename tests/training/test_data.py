import subprocess
import sys

import numpy as np
import pytest
import torch

from mer_hf.registry import ARCHITECTURES
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.synthetic.faces import SyntheticFaces
from mer_hf.training.augmentation import add_noise, generator_of, vary_light
from mer_hf.training.config import TrainingConfig, TrainingError
from mer_hf.training.data import VALIDATION_SEED, SyntheticSource
from mer_hf.training.samples import Faces, to_inputs
from tests.models.tiny import tiny_processor

QUICK = {"filmed": 0}
"""Imitated maps are drawn in a few milliseconds."""


def source(rank=0, of=1, **changes):
    settings = {"num_samples": 24, "batch_size": 4, "num_workers": 0, "validation_samples": 5,
                "generator": QUICK, **changes}  # fmt: skip
    config = TrainingConfig(output_dir="unused", **settings)
    return SyntheticSource(config, ARCHITECTURES["htnet"].processor_class(), rank, of)


def keys(batches):
    """Each sample of some batches as bytes, in order."""
    return [pixels.numpy().tobytes() for batch, _ in batches for pixels in batch["pixel_values"]]


def test_an_epoch_shows_every_sample_once_and_the_next_in_another_order():
    data = source()
    first, second = keys(data.batches(0, 0)), keys(data.batches(1, 0))
    assert len(set(first)) == 24 and set(first) == set(second) and first != second


def test_a_label_stays_with_its_map():
    data, maps = source(), SyntheticFlowMaps(0, 24, FlowMapSettings(filmed=0))
    expected = to_inputs(data.kind.processor, np.stack([maps[i]["flow"] for i in range(24)]))
    label_of = {pixels.numpy().tobytes(): maps[i]["label"] for i, pixels in enumerate(expected)}
    for batch, _ in data.batches(0, 0):
        assert batch["pixel_values"].dtype == torch.float32
        found = [label_of[pixels.numpy().tobytes()] for pixels in batch["pixel_values"]]
        assert found == batch["labels"].tolist()


def test_two_processes_share_the_samples_without_overlap():
    own, other = (set(keys(source(rank, 2).batches(0, 0))) for rank in (0, 1))
    assert len(own) == len(other) == 12 and not own & other
    assert own | other == set(keys(source().batches(0, 0)))


def test_fresh_samples_never_repeat():
    data = source(fresh_samples=True)
    seen = [key for epoch in range(3) for key in keys(data.batches(epoch, 0))]
    assert len(set(seen)) == 72


@pytest.mark.parametrize("fresh", [False, True])
def test_an_epoch_can_be_entered_in_the_middle(fresh):
    whole = keys(source(fresh_samples=fresh, gradient_accumulation_steps=2).batches(1, 0))
    rest = keys(source(fresh_samples=fresh, gradient_accumulation_steps=2).batches(1, 2))
    assert rest == whole[16:]


def test_workers_draw_the_same_samples():
    assert keys(source(num_workers=2).batches(0, 0)) == keys(source().batches(0, 0))


def test_drawing_leaves_the_global_random_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(source(fresh_samples=True, num_workers=1).batches(0, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_samples_come_from_a_seed_that_training_cannot_use():
    with pytest.raises(TrainingError, match="at most"):
        source(seed=VALIDATION_SEED)
    parts = [list(source(rank, 2, seed=rank, batch_size=2).validation()) for rank in (0, 1)]
    assert [[len(batch["labels"]) for batch in part] for part in parts] == [[2, 1], [2]]
    maps = SyntheticFlowMaps(VALIDATION_SEED, 5)
    assert parts[1][0]["labels"].tolist() == [maps[1]["label"], maps[3]["label"]]


def test_a_kept_set_is_read_again_and_belongs_to_its_seed(tmp_path, monkeypatch):
    monkeypatch.setattr("mer_hf.utils.untrusted.MOST_ARRAY_BYTES", 100)  # of what others have written

    def labels(seed=0, first=0):
        data = source(rank=first, of=2, data_seed=seed, num_samples=8, cache_dir=str(tmp_path))
        data.prepare()
        return data._pool[1].numpy()

    drawn = labels()
    (kept,) = tmp_path.iterdir()
    with np.load(kept) as arrays:
        np.savez(kept, flow=arrays["flow"], label=drawn + 100)  # to see that it is read
    assert labels().tolist() == (drawn + 100).tolist()
    assert max(labels(seed=1).max(), labels(first=1).max()) < 100
    assert len(list(tmp_path.iterdir())) == 3


def test_drawn_faces_are_shifted_alike_where_the_run_asks_for_it():
    """Both frames of a pair move, so that what differs between them is the motion alone."""
    frames = torch.zeros(1, 2, 3, 24, 24)
    frames[..., 12, 12] = 1.0
    data = source(augmentation="faces", rotation_deg=0.0, shift_px=6, batch_size=1, num_samples=1)
    data._pool = {"pixel_values": frames}, torch.zeros(1, dtype=torch.int64)
    seen = [next(data.batches(epoch, 0))[0]["pixel_values"][0, :, 0].nonzero().tolist() for epoch in range(9)]
    assert all(first[1:] == second[1:] for first, second in seen)
    assert len({tuple(first) for first, _ in seen}) > 4


def test_a_set_too_small_for_a_step_is_refused():
    with pytest.raises(
        TrainingError, match="--num-samples 7 is less than one step of 4 samples in each of 2"
    ):
        source(rank=0, of=2, num_samples=7)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_resumed_epoch_has_the_noise_of_the_uninterrupted_one(fresh):
    data = source(augment_noise=0.5, fresh_samples=fresh)
    whole = keys(data.batches(1, 0))
    assert keys(data.batches(1, 2)) == whole[8:]
    assert not set(whole) & set(keys(source(fresh_samples=fresh).batches(1, 0)))


def test_noise_keeps_its_bounds_and_leaves_an_empty_channel_empty():
    pixels = torch.ones(200, 3, 28, 28)
    pixels[:, 0] = 0
    noisy = add_noise(pixels, 0.1, generator_of([0]))
    assert not noisy[:, 0].any()
    assert 0.02 < (noisy[:, 1:] - 1).std() < 0.1
    assert torch.equal(noisy, add_noise(pixels, 0.1, generator_of([0])))
    assert not torch.equal(noisy, add_noise(pixels, 0.1, generator_of([1])))
    assert add_noise(pixels, 0.0, generator_of([0])) is pixels


def face_source(key="mmnet", **changes):
    settings = {"num_samples": 8, "batch_size": 4, "num_workers": 0, **changes}
    config = TrainingConfig(output_dir="unused", model=key, **settings)
    return SyntheticSource(config, tiny_processor(key), 0, 1)


def test_a_network_that_looks_at_frames_gets_faces_through_its_processor():
    data, faces = face_source(), SyntheticFaces(0, 8)
    assert isinstance(data.kind, Faces)
    batch, _ = next(data.batches(0, 0))
    assert batch["pixel_values"].shape == (4, 2, 3, 32, 32) and batch["pixel_values"].dtype == torch.float32
    samples = [faces[i] for i in range(8)]
    made = data.kind.processor(images=[s["frames"] for s in samples], onset=0, apex=1, return_tensors="pt")
    for pixels, label in zip(batch["pixel_values"], batch["labels"], strict=True):
        distance = (made["pixel_values"] - pixels).abs().amax((1, 2, 3, 4))
        assert distance.min() < 2e-3 and samples[distance.argmin()]["label"] == label


def test_a_network_that_samples_frames_gets_more_than_it_needs():
    batch, _ = next(face_source("hsta").batches(0, 0))
    assert batch["pixel_values"].shape == (4, 6, 3, 32, 32)
    assert face_source("hsta").kind.num_frames == 6


def test_faces_are_kept_for_the_processor_that_made_them(tmp_path):
    for size in (32, 32, 48):
        data = face_source(num_samples=4, cache_dir=str(tmp_path))
        data.kind.processor.size = size
        data.prepare()
    assert len(list(tmp_path.iterdir())) == 2


def test_augmented_faces_keep_their_motion_but_for_its_side_and_a_slow_light():
    inputs = {"pixel_values": torch.zeros(64, 2, 3, 32, 32), "action_units": torch.ones(64, 5)}
    inputs["pixel_values"][..., :16] = 1.0
    varied = vary_light(inputs, 0.1, generator_of([3]))
    pixels = varied["pixel_values"]
    mirrored = pixels[:, 0, 0, :, 16:].mean((1, 2)) > 0.5
    assert 16 < mirrored.sum() < 48
    undone = torch.where(mirrored[:, None, None, None, None], pixels.flip(-1), pixels)
    difference = undone - inputs["pixel_values"]
    assert 0.01 < difference.std() < 0.1
    assert (difference[..., 1:, :] - difference[..., :-1, :]).abs().max() < 0.1  # slow
    kept = varied["action_units"].sum(1)
    assert set(kept.tolist()) == {0.0, 5.0} and 10 < (kept == 0).sum() < 32
    assert torch.equal(pixels, vary_light(inputs, 0.1, generator_of([3]))["pixel_values"])
    assert vary_light(inputs, 0.0, generator_of([3])) is inputs


@pytest.mark.slow
def test_a_video_frame_left_behind_does_not_hang_the_processes_that_draw():
    """Threads that a frame waits for do not live on in a fork: it has to be gone before."""
    program = (
        "import gc, sys, av, numpy as np; from torch.utils.data import get_worker_info\n"
        "from mer_hf.training import data\n"
        "gc.disable()\n"
        "class Samples:\n"
        "    def __getitem__(self, index):\n"
        "        if get_worker_info(): gc.collect()\n"
        "        return {'value': np.zeros(1)}\n"
        "def leave_behind():\n"
        "    frame = av.VideoFrame.from_ndarray(np.zeros((1080, 1920, 3), np.uint8))\n"
        "    cycle = [frame, frame.reformat(format='yuv420p')]\n"
        "    cycle.append(cycle)\n"
        "leave_behind()\n"
        "print(sum(len(batch['value']) for batch in data.draw(Samples(), range(4), 2, 1)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "4", done.stderr
