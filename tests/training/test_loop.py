import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoImageProcessor, AutoModelForVideoClassification, TrainingArguments
from transformers import Trainer as HFTrainer

from mer_hf.evaluation import metrics
from mer_hf.loading import load
from mer_hf.synthetic import FlowMapSettings, SyntheticFlowMaps
from mer_hf.training import loop
from mer_hf.training.config import TrainingError
from mer_hf.training.data import VALIDATION_SEED
from mer_hf.training.loop import train
from mer_hf.training.optimization import average_of, make_optimizer
from mer_hf.training.samples import to_inputs
from tests.models.tiny import tiny_model, tiny_processor


def lines(config):
    with open(f"{config.output_dir}/metrics.jsonl") as file:
        return [json.loads(line) for line in file]


def weights(config):
    return load(config.output_dir)[0].state_dict()


def test_a_run_ends_in_a_checkpoint_with_its_record(tiny, tmp_path, capsys):
    config = tiny(label_smoothing=0.1)
    train(config)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    code = {"configuration_htnet.py", "modeling_htnet.py", "image_processing_htnet.py", "optical_flow.py",
            "face_frames.py", "video_processing_htnet.py", "face_video.py"}  # fmt: skip
    assert left == code | {
        "config.json", "preprocessor_config.json", "model.safetensors", "train_config.json", "metrics.jsonl",
        "video_preprocessor_config.json",
    }  # fmt: skip
    modes = {(tmp_path / "run" / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1  # whoever may read the one may read the other
    record = json.loads((tmp_path / "run" / "train_config.json").read_text())
    assert record["seed"] == 0 and record["config"] == config.config and record["num_processes"] == 1
    assert [line["step"] for line in lines(config)] == [4, 5, 8, 10, 12, 12]  # the last one holds the scores
    assert lines(config)[3]["epoch"] == 2
    assert "1 process(es) on cpu, 12 steps of 16 samples" in capsys.readouterr().out
    model = AutoModelForVideoClassification.from_pretrained(config.output_dir)
    processor = AutoImageProcessor.from_pretrained(config.output_dir)
    assert processor.flow_method == "dis" and model.config.id2label[2] == "surprise"


def test_the_scores_are_those_of_the_saved_weights_on_held_out_samples(tiny):
    config = tiny(ema_decay=0.9)
    result = train(config)
    model, processor = load(config.output_dir)
    maps = SyntheticFlowMaps(VALIDATION_SEED, 9, FlowMapSettings(filmed=0))
    samples = [maps[i] for i in range(9)]
    inputs = torch.cat([to_inputs(processor, sample["flow"][None]) for sample in samples])
    with torch.no_grad():
        predictions = model(pixel_values=inputs).logits.argmax(-1).numpy()
    labels = [sample["label"] for sample in samples]
    expected = {name: getattr(metrics, name)(predictions, labels, 3) for name in ("uf1", "uar", "accuracy")}
    assert result["validation"] == pytest.approx({"samples": 9, **expected})
    assert lines(config)[-1] == result


def test_a_run_learns(tiny):
    config = tiny(num_samples=16, epochs=60, lr=3e-3, validation_samples=0, save_steps=1000)
    assert train(config)["validation"] == {}
    losses = [line["loss"] for line in lines(config) if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]


def test_the_seed_decides_the_weights(tiny):
    runs = [tiny(name, seed=seed, data_seed=0) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for config in runs:
        train(config)
    first, same, other = (weights(config) for config in runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_two_forward_passes_of_half_the_samples_give_one_gradient(tiny, monkeypatch):
    gradients = []

    def record(optimizer, closure=None):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    settings = {"max_steps": 2, "validation_samples": 0, "max_grad_norm": 0}
    settings["config"] = {**tiny().config, "hidden_dropout_prob": 0.0}
    whole = tiny("whole", **settings)
    halves = tiny("halves", batch_size=8, gradient_accumulation_steps=2, **settings)
    for config in (whole, halves):
        train(config)
    assert gradients[0].norm() > 0.1 and not torch.allclose(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[2:], gradients[:2], rtol=1e-3, atol=1e-5)
    assert lines(whole)[0]["loss"] == pytest.approx(lines(halves)[0]["loss"], abs=1e-5)


def test_bfloat16_changes_the_arithmetic_and_not_the_type_of_the_weights(tiny):
    plain = tiny("plain", validation_samples=0)
    mixed = tiny("mixed", validation_samples=0, mixed_precision="bf16")
    for config in (plain, mixed):
        train(config)
        AcceleratorState._reset_state(reset_partial_state=True)
    losses = [lines(config)[-2]["loss"] for config in (plain, mixed)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], abs=0.1)
    assert {value.dtype for value in weights(mixed).values()} == {torch.float32}


def test_max_steps_stands_in_for_epochs(tiny):
    for name, steps in (("fewer", 2), ("more", 15)):
        config = tiny(name, max_steps=steps, validation_samples=0)
        assert train(config)["step"] == steps
        assert lines(config)[-2]["lr"] == pytest.approx(0, abs=1e-9)  # the schedule ends with the run


def test_the_average_forgets_the_first_weights_first():
    model = torch.nn.Linear(1, 1, bias=False)
    average = average_of(model, decay=0.5)
    seen = []
    for value in (4.0, 1.0, 3.0):
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        seen.append(average.module.weight.item())
    # 4; then with decay 2/11: 4 * 2/11 + 1 * 9/11 = 17/11; then with decay 3/12: 17/11 / 4 + 3 * 3/4
    assert seen == pytest.approx([4.0, 17 / 11, 17 / 44 + 9 / 4])


def test_the_saved_weights_are_the_average(tiny):
    last, averaged = (
        tiny("last", validation_samples=0),
        tiny("averaged", ema_decay=0.99, validation_samples=0),
    )
    for config in (last, averaged):
        train(config)
    assert lines(last)[-2]["loss"] == lines(averaged)[-2]["loss"]  # the training is the same
    assert not torch.equal(weights(last)["classifier.weight"], weights(averaged)["classifier.weight"])


def test_vectors_are_not_decayed(tiny):
    model = tiny_model("htnet")
    decayed, kept = make_optimizer(model, tiny()).param_groups
    assert decayed["weight_decay"] == 0.05 and all(parameter.ndim > 1 for parameter in decayed["params"])
    assert kept["weight_decay"] == 0 and len(decayed["params"]) + len(kept["params"]) == len(
        list(model.parameters())
    )


def test_a_folder_that_holds_something_is_refused(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    for resume, message in ((False, "Add --resume"), (True, "does not hold a run to resume")):
        with pytest.raises(TrainingError, match=message):
            train(tiny(resume=resume))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_mistake_leaves_no_folder(tiny, tmp_path):
    for changes in ({"mixed_precision": "fp16"}, {"config": {"hidden": 3}}, {"num_samples": 3}):
        if torch.cuda.is_available() and "mixed_precision" in changes:
            continue
        with pytest.raises(TrainingError):
            train(tiny(**changes))
        AcceleratorState._reset_state(reset_partial_state=True)
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_left_as_it_is(tiny, capsys):
    config = tiny(max_steps=2, validation_samples=0)
    train(config)
    before = weights(config)
    assert train(tiny(max_steps=2, resume=True)) == {}
    assert "is finished" in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in weights(config).items())


def interrupted(config, monkeypatch, step):
    """Start a run that stops after some steps."""
    original = loop.Trainer._step

    def stop(self, batches):
        if self.step == step:
            raise KeyboardInterrupt
        return original(self, batches)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Trainer, "_step", stop)
        train(config)


def test_an_interrupted_run_goes_on_to_the_same_weights_and_log(tiny, monkeypatch):
    whole = tiny("whole", ema_decay=0.9)
    train(whole)
    interrupted(tiny(ema_decay=0.9), monkeypatch, 7)
    torch.rand(5)
    train(config := tiny(ema_decay=0.9, resume=True))
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(config).items())
    for one, other in zip(lines(whole), lines(config), strict=True):
        assert {**one, "samples_per_s": 0} == {**other, "samples_per_s": 0}


def test_a_run_is_resumed_only_with_its_number_of_processes(tiny, tmp_path, monkeypatch):
    interrupted(tiny(), monkeypatch, 7)
    record = tmp_path / "run" / "train_config.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "num_processes": 2}))
    with pytest.raises(TrainingError, match="has 2 process"):
        train(tiny(resume=True))


def test_a_folder_in_which_another_process_trains_is_refused(tiny, tmp_path, monkeypatch):
    interrupted(tiny(), monkeypatch, 7)
    hold = (
        "import fcntl, sys; fcntl.lockf(f := open(sys.argv[1], 'w'), 2); print(flush=True); sys.stdin.read()"
    )
    lock = str(tmp_path / "run" / ".lock")
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with pytest.raises(TrainingError, match="another process is training in"):
            train(tiny(resume=True))
        other.stdin.close()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train(tiny(resume=True))["step"] == 12


def test_a_state_without_random_numbers_is_refused(tiny, tmp_path, monkeypatch):
    interrupted(tiny(), monkeypatch, 7)
    (tmp_path / "run" / "checkpoints" / "step-00000005" / "random_states_0.pkl").unlink()
    with pytest.raises(TrainingError, match=r"lacks random_states_0\.pkl"):
        train(tiny(resume=True))


def test_transformers_own_trainer_trains_the_model_through_labels(tmp_path):
    maps = SyntheticFlowMaps(0, 4)
    pixels = to_inputs(tiny_processor("htnet"), np.stack([maps[i]["flow"] for i in range(4)]))
    data = [{"pixel_values": pixels[i], "labels": torch.tensor(i % 3)} for i in range(4)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=40, learning_rate=3e-3, report_to=[], use_cpu=True, disable_tqdm=True,
        per_device_train_batch_size=4, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = HFTrainer(tiny_model("htnet"), arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.5 * before


@pytest.mark.parametrize(
    ("tracker", "written"), [("tensorboard", "run/mer_hf/**/events*"), ("trackio", "db/*.db")]
)
def test_a_tracker_gets_the_lines_of_the_log(tiny, tmp_path, monkeypatch, tracker, written):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "db"))
    config = tiny(track=tracker, epochs=1)
    train(config)
    assert [path for path in tmp_path.glob(written) if path.stat().st_size > 100]
    assert len(lines(config)) >= 2


def test_a_tracker_that_is_not_installed_is_named(tiny, monkeypatch):
    monkeypatch.setattr(loop.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="--track trackio is not installed"):
        train(tiny(track="trackio"))


def test_convolutions_on_faces_are_in_the_fast_order_and_answer_the_same():
    model = tiny_model("mmnet").eval()
    pixels = torch.rand(2, 2, 3, model.config.image_size, model.config.image_size)
    before = model(pixel_values=pixels).logits
    loop.convolve_channels_last(model)
    wide = [p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert wide and all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    torch.testing.assert_close(model(pixel_values=pixels).logits, before, rtol=1e-4, atol=1e-5)
