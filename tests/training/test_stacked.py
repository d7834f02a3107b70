"""Folds that are trained together become what they become alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mer_hf.models.htnet.configuration_htnet import HTNetConfig
from mer_hf.models.htnet.modeling_htnet import HTNetForVideoClassification
from mer_hf.training import fold as fold_module
from mer_hf.training import stack, stacked
from mer_hf.training.optimization import average_of
from mer_hf.training.stacked import Fold, FoldSettings, train_folds, train_one

SIZES = (30, 33, 9, 40, 25)
"""Training samples of five folds: with batches of 8, 4, 5, 2, 5 and 4 steps an epoch, all but one padded."""

SETTINGS = FoldSettings(epochs=5, batch_size=8, label_smoothing=0.1, ema_decay=0.9, max_grad_norm=0.5)


def data(samples=60, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(samples, 3, 28, 28, generator=generator, dtype=torch.float64).to(dtype)
    return {"pixel_values": maps}, torch.randint(0, 3, (samples,), generator=generator)


def folds_of(sizes=SIZES, samples=range(60)):
    chooser = np.random.default_rng(1)
    return [
        Fold(f"sub{i:02}", np.sort(chooser.choice(np.array(samples), size, replace=False)))
        for i, size in enumerate(sizes)
    ]


def network(dtype=torch.float64, **changes):
    config = HTNetConfig(**{"hidden_size": 12, "depths": [1, 1, 1], **changes})

    def make(i):
        torch.manual_seed(i)
        return HTNetForVideoClassification(config).to(dtype)

    return make


def furthest(states, others):
    return max((s[k] - o[k]).abs().max().item() for s, o in zip(states, others, strict=True) for k in o)


FOUR_TOKENS = {"image_size": 56}


@pytest.mark.parametrize(
    ("changes", "dropout", "traced_steps"),
    [
        ({}, 0.0, 1000),
        ({}, 0.3, 1000),
        ({}, 0.3, 1),
        (FOUR_TOKENS, 0.0, 1000),
        pytest.param(FOUR_TOKENS, 0.3, 1, marks=pytest.mark.slow),
        pytest.param(FOUR_TOKENS | {"attn_implementation": "eager"}, 0.3, 1000, marks=pytest.mark.slow),
    ],
    ids=["plain", "dropout", "traced", "four_tokens", "four_tokens_traced", "four_tokens_eager"],
)
def test_every_fold_is_trained_as_it_is_alone(changes, dropout, traced_steps, monkeypatch):
    monkeypatch.setattr(stack, "TRACED_STEPS", traced_steps)
    make, folds = network(hidden_dropout_prob=dropout, **changes), folds_of()
    inputs, labels = data()
    if changes:
        inputs = {"pixel_values": nn.functional.interpolate(inputs["pixel_values"], size=56)}
    together = train_folds(make, inputs, labels, folds, SETTINGS)
    alone = [train_one(make(i), inputs, labels, fold, SETTINGS) for i, fold in enumerate(folds)]
    assert [SETTINGS.steps(fold) for fold in folds] == [20, 25, 10, 25, 20]
    assert furthest(together, alone) < 1e-9
    start = [make(i).state_dict() for i in range(len(folds))]
    assert min(furthest([s], [o]) for s, o in zip(start, together, strict=True)) > 1e-3
    assert together[0].keys() == make(0).state_dict().keys()


def test_predictions_in_float32_are_the_same():
    make, folds, (inputs, labels) = network(torch.float32), folds_of(), data(dtype=torch.float32)
    settings = FoldSettings(epochs=12, batch_size=8)
    together = train_folds(make, inputs, labels, folds, settings)
    model = make(0).eval()
    for i, fold in enumerate(folds):
        found = []
        for state in (together[i], train_one(make(i), inputs, labels, fold, settings)):
            model.load_state_dict(state)
            found.append(model(**inputs).logits.argmax(-1))
        assert torch.equal(*found)
        assert len(found[0].unique()) == 3


def test_what_fills_a_batch_changes_nothing(monkeypatch):
    make, (inputs, labels) = network(), data()
    folds = folds_of(samples=range(59))  # none has the last sample
    plain = train_folds(make, inputs, labels, folds, SETTINGS)
    inputs["pixel_values"][59] = 1e6
    monkeypatch.setattr(stack, "_padded", lambda rows, size: np.append(rows, np.full(size - len(rows), 59)))
    assert furthest(train_folds(make, inputs, labels, folds, SETTINGS), plain) == 0


@pytest.mark.parametrize("folds_per_pass", [1, 3])
def test_neighbours_change_nothing(folds_per_pass):
    make, folds, (inputs, labels) = network(hidden_dropout_prob=0.3), folds_of(), data()
    calls = []
    together = train_folds(
        make, inputs, labels, folds, SETTINGS,
        folds_per_pass=folds_per_pass, progress=lambda *call: calls.append(call),
    )  # fmt: skip
    backwards = train_folds(lambda i: make(4 - i), inputs, labels, folds[::-1], SETTINGS)
    assert furthest(together, backwards[::-1]) < 1e-9
    assert calls[-1] == (100, 100)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.slow
def test_passes_side_by_side_change_nothing(monkeypatch):
    monkeypatch.setattr(stack, "TRACED_STEPS", 5)
    make, folds, (inputs, labels) = network(hidden_dropout_prob=0.3), folds_of(), data()
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(train_folds(make, inputs, labels, folds, SETTINGS, folds_per_pass=2))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert furthest(*found) < 1e-9


@pytest.mark.parametrize("failing_call", [3, 4])
def test_a_pass_that_fails_ends_the_others(failing_call):
    make, folds, (inputs, labels) = network(), folds_of(), data()
    settings = FoldSettings(max_steps=90, batch_size=8)
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == failing_call:
            raise KeyError("no room")

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError, match="no room"):
            train_folds(make, inputs, labels, folds[:2], settings, folds_per_pass=1, progress=progress)
    finally:
        torch.set_num_threads(threads)
    assert len(calls) == failing_call


def test_a_batch_may_be_larger_than_the_data():
    make, (inputs, labels) = network(hidden_dropout_prob=0.3), data(samples=20)
    folds, settings = folds_of((12, 19), range(20)), FoldSettings(epochs=4, batch_size=32)
    together = train_folds(make, inputs, labels, folds, settings)
    alone = [train_one(make(i), inputs, labels, fold, settings) for i, fold in enumerate(folds)]
    assert furthest(together, alone) < 1e-9


def test_fewer_folds_go_together_where_memory_is_short(monkeypatch):
    make, (inputs, _) = network(), data()
    found = []
    for free in (2**34, 2**25, 2**10):
        monkeypatch.setattr(stacked, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        found.append(stacked._folds_that_fit(make(0), inputs, SETTINGS, torch.device("cpu"), 1))
    assert found[0] == stacked.FOLDS_ON_CPU > found[1] > found[2] == 1


def test_order_is_a_function_of_seed_fold_and_epoch():
    fold = Fold("sub01", np.arange(100, 120))
    settings = FoldSettings(epochs=2, batch_size=8)
    first, second = np.split(np.concatenate(list(stacked.batches(fold, settings))), 2)
    assert sorted(first) == sorted(second) == list(fold.train)
    assert list(first) != list(second)
    again = list(stacked.batches(fold, FoldSettings(max_steps=4, batch_size=8, seed=0)))
    assert [len(rows) for rows in again] == [8, 8, 4, 8]
    assert list(np.concatenate(again[:3])) == list(first)
    for other in (Fold("sub02", fold.train), FoldSettings(epochs=2, batch_size=8, seed=1)):
        pair = (other, settings) if isinstance(other, Fold) else (fold, other)
        assert list(np.concatenate(list(stacked.batches(*pair)))[:20]) != list(first)


def test_the_average_is_that_of_the_training_loop():
    model = nn.Linear(3, 2)
    reference = average_of(model, 0.6)
    average = [p.detach().clone() for p in model.parameters()]
    for step in range(20):
        for p in model.parameters():
            p.data.add_(torch.randn_like(p))
        reference.update_parameters(model)
        decay = fold_module.decay_of(step, FoldSettings(ema_decay=0.6))
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1 - decay)
    for found, expected in zip(average, reference.module.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.classifier = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, pixel_values):
        return self.classifier(self.norm(pixel_values).mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "folds", "message"),
    [
        (lambda i: Normed(), folds_of(), r"Normed has batch norm \(norm\).*--parallel folds"),
        (network(attention_probs_dropout_prob=0.1), folds_of(), "outside nn.Dropout.*--parallel folds"),
        (network(), [Fold("sub01", np.array([], int))], "fold sub01 has no training samples"),
    ],
    ids=["batch_norm", "attention_dropout", "empty_fold"],
)
def test_what_cannot_be_stacked_is_refused(make, folds, message):
    inputs, labels = data()
    with pytest.raises(ValueError, match=message) as error:
        train_folds(make, inputs, labels, folds, SETTINGS)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        train_one(make(0), inputs, labels, folds[0], SETTINGS)


def test_networks_without_dropout_or_outputs_are_served():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.rand(()).double())
            self.classifier = nn.Linear(4, 3).double()

        def forward(self, features):
            return self.classifier(features * self.scale)

    def make(i):
        torch.manual_seed(i)
        return Plain()

    inputs = {"features": torch.randn(60, 4, dtype=torch.float64)}
    _, labels = data()
    together = train_folds(make, inputs, labels, folds_of(), SETTINGS)
    alone = [train_one(make(i), inputs, labels, fold, SETTINGS) for i, fold in enumerate(folds_of())]
    assert furthest(together, alone) < 1e-9
