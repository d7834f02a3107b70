"""What the folds are timed against does the same work."""

import torch

from benchmarks import folds
from mer_hf.models.htnet.configuration_htnet import HTNetConfig
from mer_hf.training.stacked import train_folds, train_one

TINY = {"hidden_size": 12, "depths": [1, 1, 1]}


def test_the_plain_loop_trains_to_the_same_weights():
    make, (fold,), settings = folds.maker(HTNetConfig(**TINY)), folds.folds_of(1), folds.settings_of(15)
    inputs, labels = folds.data()
    model = make(0).double()
    inputs = {name: tensor.double() for name, tensor in inputs.items()}
    folds.plain_loop(model, inputs, labels, fold, settings)
    found = train_one(make(0).double(), inputs, labels, fold, settings)
    stacked = train_folds(lambda i: make(i).double(), inputs, labels, [fold], settings)[0]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)
        torch.testing.assert_close(stacked[name], weight, rtol=0, atol=1e-9)
    assert not torch.equal(make(0).double().state_dict()["classifier.weight"], found["classifier.weight"])


def test_times_are_per_step_of_one_fold(monkeypatch):
    calls = iter(range(1000))
    monkeypatch.setattr(folds.time, "perf_counter", lambda: 0.5 * next(calls))

    def train_folds(make, inputs, labels, chosen, settings, device, progress):
        total = settings.max_steps * len(chosen)
        for done in range(len(chosen), total + 1, len(chosen)):
            progress(done, total)

    monkeypatch.setattr(folds, "train_folds", train_folds)
    found = folds.stacked(None, folds.folds_of(4), 50)
    assert found == {"ms": 125.0, "start_s": 0.0}
