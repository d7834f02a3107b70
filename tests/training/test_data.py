import numpy as np
import pytest
import torch

from mer_hf.registry import ARCHITECTURES
from mer_hf.synthetic import SyntheticFlowMaps
from mer_hf.training.config import TrainingConfig, TrainingError
from mer_hf.training.data import VALIDATION_SEED, Share, SyntheticSource, disturb, draw_all, to_inputs


def source(rank=0, of=1, **changes):
    settings = {"num_samples": 24, "batch_size": 4, "num_workers": 0, "validation_samples": 5, **changes}
    config = TrainingConfig(output_dir="unused", **settings)
    return SyntheticSource(config, ARCHITECTURES["htnet"].processor_class(), Share(rank, of))


def keys(batches):
    """Each sample of some batches as bytes, in order."""
    return [pixels.numpy().tobytes() for batch in batches for pixels in batch["pixel_values"]]


def test_an_epoch_shows_every_sample_once_and_the_next_in_another_order():
    data = source()
    first, second = keys(data.batches(0, 0)), keys(data.batches(1, 0))
    assert len(set(first)) == 24 and set(first) == set(second) and first != second


def test_a_label_stays_with_its_map():
    data, maps = source(), SyntheticFlowMaps(0, 24)
    expected = to_inputs(data.processor, np.stack([maps[i]["flow"] for i in range(24)]))
    label_of = {pixels.numpy().tobytes(): maps[i]["label"] for i, pixels in enumerate(expected)}
    for batch in data.batches(0, 0):
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
    parts = [source(rank, 2, seed=rank).validation() for rank in (0, 1)]
    assert [len(part["labels"]) for part in parts] == [3, 2]
    maps = SyntheticFlowMaps(VALIDATION_SEED, 5)
    assert parts[1]["labels"].tolist() == [maps[1]["label"], maps[3]["label"]]


def test_a_kept_set_is_read_again_and_belongs_to_its_seed(tmp_path):
    maps = SyntheticFlowMaps(0, 6)
    flow, label = draw_all(maps, range(0, 6, 2), 0, str(tmp_path))
    (kept,) = tmp_path.iterdir()
    np.savez(kept, flow=flow, label=label + 100)  # to see that it is read
    assert draw_all(maps, range(0, 6, 2), 0, str(tmp_path))[1].tolist() == (label + 100).tolist()
    for other in (SyntheticFlowMaps(1, 6), SyntheticFlowMaps(0, 6, start=6)):
        assert draw_all(other, range(0, 6, 2), 0, str(tmp_path))[1].max() < 100
    assert draw_all(maps, range(1, 6, 2), 0, str(tmp_path))[1].max() < 100
    assert len(list(tmp_path.iterdir())) == 4


def test_a_set_too_small_for_a_step_is_refused():
    with pytest.raises(
        TrainingError, match="--num-samples 7 is less than one step of 4 samples in each of 2"
    ):
        source(rank=0, of=2, num_samples=7)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_resumed_epoch_is_disturbed_as_the_uninterrupted_one(fresh):
    data = source(disturbance=0.5, fresh_samples=fresh)
    whole = keys(data.batches(1, 0))
    assert keys(data.batches(1, 2)) == whole[8:]
    assert not set(whole) & set(keys(source(fresh_samples=fresh).batches(1, 0)))


def test_a_disturbance_keeps_its_bounds_and_leaves_an_empty_channel_empty():
    pixels = torch.ones(200, 3, 28, 28)
    pixels[:, 0] = 0
    disturbed = disturb(pixels, 0.1, [0])
    assert not disturbed[:, 0].any()
    assert 0.02 < (disturbed[:, 1:] - 1).std() < 0.1
    assert torch.equal(disturbed, disturb(pixels, 0.1, [0]))
    assert not torch.equal(disturbed, disturb(pixels, 0.1, [1]))
    assert torch.equal(disturb(pixels, 0.0, [0]), pixels)
