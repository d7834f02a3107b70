"""Every architecture under transformers' own Trainer, and what else transformers' users expect."""

import copy
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForVideoClassification, Trainer, TrainingArguments

from mer_hf.inference.pipeline import face_relevance
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import tiny_clip, tiny_inputs, tiny_model, tiny_processor

keys = pytest.mark.parametrize("key", ARCHITECTURES)
OTHERS = sorted(set(ARCHITECTURES) - {"htnet"})


def samples(key: str) -> list[dict]:
    """Eight samples: two clips, four times, each with its own label."""
    inputs = tiny_inputs(key)
    one = [{name: tensor[i] for name, tensor in inputs.items()} | {"labels": i} for i in (0, 1)]
    return one * 4


def trained(key: str, folder, max_steps: int = 60, **options):
    model = tiny_model(key)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=max_steps,
        per_device_train_batch_size=4,
        learning_rate=5e-4,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        report_to="none",
        seed=0,
        disable_tqdm=True,
        **options,
    )
    trainer = Trainer(model, arguments, train_dataset=samples(key))
    trainer.train()
    return trainer, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@keys
def test_the_trainer_lowers_the_loss_saves_and_predicts(key, tmp_path):
    trainer, losses = trained(key, tmp_path)
    assert losses[-1] < 0.7 * losses[0]
    trainer.save_model(tmp_path / "end")
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path / "end")
    inputs = tiny_inputs(key)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**inputs).logits, trainer.model.eval()(**inputs).logits, rtol=1e-6, atol=1e-6
        )
    prediction = trainer.predict(samples(key))
    assert prediction.predictions.shape == (8, loaded.config.num_labels)
    assert prediction.predictions.argmax(1).tolist() == [0, 1] * 4


@pytest.mark.parametrize("key", ["htnet", *(pytest.param(key, marks=pytest.mark.slow) for key in OTHERS)])
def test_accumulated_gradients_give_the_loss_of_one_batch(key, tmp_path):
    """The reported loss is a mean over the batch, however many parts it has."""
    whole = trained(key, tmp_path / "whole", max_steps=1)[1][0]
    parts = trained(key, tmp_path / "parts", max_steps=1, gradient_accumulation_steps=2)[1][0]
    assert parts == pytest.approx(whole, rel=0.3)  # batch norms see other batches


@keys
def test_eager_and_sdpa_agree_in_logits_and_gradients(key):
    inputs, labels, found = tiny_inputs(key), torch.tensor([0, 2]), []
    for implementation in ("eager", "sdpa"):
        model = tiny_model(key)
        model.set_attn_implementation(implementation)
        assert model.config._attn_implementation == implementation
        outputs = model(**inputs, labels=labels)
        outputs.loss.backward()
        found.append((outputs.logits.detach(), [p.grad for p in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


@keys
def test_a_sample_alone_gives_what_it_gives_in_a_batch(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    with torch.no_grad():
        together = model(**inputs).logits
        alone = [model(**{name: t[i : i + 1] for name, t in inputs.items()}).logits for i in (0, 1)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5)


@keys
def test_shards_are_loaded_back_exactly(key, tmp_path):
    model, inputs = tiny_model(key), tiny_inputs(key)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits, rtol=1e-6, atol=1e-6)


@keys
def test_relevance_is_repeatable_and_leaves_the_model_as_it_was(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    before = copy.deepcopy(model.state_dict())
    one, other = (model.relevance(target=1, **inputs) for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert one.dtype == torch.float32 and one.isfinite().all() and (one >= 0).all() and len(one) == 2
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@keys
def test_relevance_is_of_the_weights_and_of_the_class(key):
    processor, config = tiny_processor(key), tiny_model(key).config
    inputs = processor(images=tiny_clip(), onset=0, apex=3, return_tensors="pt")
    maps = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = ARCHITECTURES[key].classifier_class(config).eval()
        maps += [face_relevance(model, processor, inputs, target=target) for target in (0, 1, 2)]
    different = {each.tobytes() for each in maps if each.any()}
    assert len(different) >= 5


@pytest.mark.slow
def test_importing_and_building_print_nothing_and_leave_the_random_numbers_alone():
    code = (
        "import torch; before = torch.get_rng_state(); from mer_hf.registry import ARCHITECTURES; "
        "[a.config_class() for a in ARCHITECTURES.values()]; "
        "assert torch.equal(before, torch.get_rng_state())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
