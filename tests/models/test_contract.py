"""What every architecture of the registry offers, on tiny configurations."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

from mer_hf.inference.pipeline import face_relevance
from mer_hf.labels import TO_COMPOSITE3
from mer_hf.loading import load
from mer_hf.models.saving import save_processors
from mer_hf.registry import ARCHITECTURES
from tests.models.tiny import TINY, tiny_clip, tiny_inputs, tiny_model, tiny_processor

keys = pytest.mark.parametrize("key", ARCHITECTURES)


def logits_of(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def test_every_architecture_has_a_tiny_configuration():
    assert set(TINY) == set(ARCHITECTURES)


@keys
def test_classes_are_registered_with_the_auto_classes(key):
    architecture = ARCHITECTURES[key]
    config = AutoConfig.for_model(key, **TINY[key].config)
    assert architecture.key == key and type(config) is architecture.config_class
    assert type(AutoModel.from_config(config)) is architecture.model_class
    assert type(AutoModelForVideoClassification.from_config(config)) is architecture.classifier_class


@keys
def test_its_converter_is_where_the_registry_says(key):
    if name := ARCHITECTURES[key].convert_module:
        assert callable(importlib.import_module(name).convert)


@keys
def test_default_labels_are_known_emotions(key):
    config = ARCHITECTURES[key].config_class()
    assert config.label2id == {label: index for index, label in config.id2label.items()}
    assert list(config.id2label) == list(range(config.num_labels)) and config.num_labels > 2
    assert set(config.id2label.values()) <= set(TO_COMPOSITE3)
    three = {"id2label": {0: "a", 1: "b", 2: "c"}}
    assert ARCHITECTURES[key].config_class(**three).label2id == {"a": 0, "b": 1, "c": 2}
    assert ARCHITECTURES[key].config_class(num_labels=4).id2label[3] == "LABEL_3"


@keys
def test_outputs_hold_what_was_asked_for(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    outputs = model(**inputs)
    assert outputs.logits.shape == (2, model.config.num_labels) and outputs.loss is None
    assert outputs.hidden_states is None and outputs.attentions is None
    model.set_attn_implementation("eager")
    asked = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert len(asked.hidden_states) > 1 and len(asked.attentions) > 0
    assert all(a.isfinite().all() and a.shape[0] % 2 == 0 for a in asked.attentions)
    torch.testing.assert_close(asked.logits, outputs.logits, rtol=0, atol=1e-5)
    assert isinstance(model(**inputs, return_dict=False), tuple)


@keys
def test_labels_give_a_loss_that_reaches_every_parameter(key):
    model, inputs = tiny_model(key).train(), tiny_inputs(key)
    model(**inputs, labels=torch.tensor([0, 2])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@keys
def test_loss_is_the_mean_cross_entropy(key):
    model, inputs = tiny_model(key), tiny_inputs(key)
    labels = torch.tensor([0, 2])
    outputs = model(**inputs, labels=labels)
    expected = -outputs.logits.log_softmax(-1)[[0, 1], labels].mean()
    torch.testing.assert_close(outputs.loss, expected)


@keys
def test_saved_and_loaded_logits_agree(key, tmp_path):
    model, inputs = tiny_model(key), tiny_inputs(key)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert type(loaded) is type(model) and not loaded.training
    for batch in (slice(None), slice(0, 1)):
        part = {name: tensor[batch] for name, tensor in inputs.items()}
        torch.testing.assert_close(logits_of(loaded, part), logits_of(model, part), rtol=1e-6, atol=1e-6)
    features = AutoModel.from_pretrained(tmp_path)
    assert type(features) is ARCHITECTURES[key].model_class
    for name, tensor in features.state_dict().items():
        saved = model.state_dict()[f"{model.base_model_prefix}.{name}"]
        torch.testing.assert_close(tensor, saved, rtol=0, atol=0)


@keys
def test_saved_folder_names_its_code(key, tmp_path):
    tiny_model(key).save_pretrained(tmp_path)
    tiny_processor(key).save_pretrained(tmp_path)
    architecture = ARCHITECTURES[key]
    names = {
        "AutoConfig": architecture.config_class,
        "AutoModel": architecture.model_class,
        "AutoModelForVideoClassification": architecture.classifier_class,
    }
    expected = {auto: f"{c.__module__.split('.')[-1]}.{c.__name__}" for auto, c in names.items()}
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == expected
    processor = architecture.processor_class
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["auto_map"] == {
        "AutoImageProcessor": f"{processor.__module__.split('.')[-1]}.{processor.__name__}"
    }
    save_processors(tiny_processor(key), tmp_path)
    video = architecture.video_processor_class
    assert json.loads((tmp_path / "video_preprocessor_config.json").read_text())["auto_map"] == {
        "AutoVideoProcessor": f"{video.__module__.split('.')[-1]}.{video.__name__}"
    }
    modules = [reference.split(".")[0] for reference in expected.values()] + [f"video_processing_{key}"]
    assert all((tmp_path / f"{module}.py").is_file() for module in modules)


@keys
def test_load_gives_model_and_processor(key, tmp_path):
    model, inputs = tiny_model(key), tiny_inputs(key)
    model.save_pretrained(tmp_path)
    tiny_processor(key).save_pretrained(tmp_path)
    loaded, processor = load(tmp_path)
    assert type(loaded) is type(model) and type(processor) is ARCHITECTURES[key].processor_class
    assert not loaded.training and loaded.dtype == torch.float32
    torch.testing.assert_close(logits_of(loaded, inputs), logits_of(model, inputs), rtol=1e-6, atol=1e-6)


@keys
def test_gradient_checkpointing_changes_no_gradient(key):
    inputs, gradients = tiny_inputs(key), []
    for checkpointing in (False, True):
        model = tiny_model(key).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(**inputs, labels=torch.tensor([0, 2])).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@keys
def test_loads_and_runs_in_bfloat16(key, tmp_path):
    tiny_model(key).save_pretrained(tmp_path)
    model = AutoModelForVideoClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    logits = logits_of(model, tiny_inputs(key))
    assert model.dtype == logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


@keys
def test_head_can_be_replaced_for_other_labels(key, tmp_path):
    tiny_model(key).save_pretrained(tmp_path)
    labels = dict(enumerate(("happiness", "surprise", "disgust", "repression")))
    model = AutoModelForVideoClassification.from_pretrained(
        tmp_path,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
        ignore_mismatched_sizes=True,
    )
    assert logits_of(model, tiny_inputs(key)).shape == (2, 4) and model.config.id2label == labels
    for name, tensor in tiny_model(key).base_model.state_dict().items():
        torch.testing.assert_close(model.base_model.state_dict()[name], tensor, rtol=0, atol=0)


@keys
def test_one_label_is_a_regression_whatever_the_checkpoint_was_trained_for(key, tmp_path):
    model, numbers = tiny_model(key), torch.tensor([0.5, -1.0])
    model(**tiny_inputs(key), labels=torch.tensor([0, 2]))
    assert model.config.problem_type == "single_label_classification"
    model.save_pretrained(tmp_path)
    model = AutoModelForVideoClassification.from_pretrained(
        tmp_path, num_labels=1, ignore_mismatched_sizes=True
    )
    outputs = model(**tiny_inputs(key), labels=numbers)
    torch.testing.assert_close(outputs.loss, ((outputs.logits[:, 0] - numbers) ** 2).mean())


@keys
def test_processor_is_saved_whole(key, tmp_path):
    processor = tiny_processor(key)
    processor.save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(processor) and loaded.to_dict() == processor.to_dict()
    assert {"size", "eye_row", "interocular_fraction"} <= set(loaded.face_geometry)
    clip = tiny_clip()
    for name, array in processor(images=clip, onset=0, apex=3).items():
        np.testing.assert_array_equal(loaded(images=clip, onset=0, apex=3)[name], array)


@keys
def test_video_processor_takes_aligned_faces_as_the_image_processor_does(key, tmp_path):
    processor, clip = tiny_processor(key), tiny_clip()
    save_processors(processor, tmp_path)
    video = AutoVideoProcessor.from_pretrained(tmp_path)
    assert type(video) is ARCHITECTURES[key].video_processor_class
    expected = processor(images=[clip, clip], onset=0, apex=3)
    for name, array in video([clip, clip], onset=0, apex=3, aligned=True).items():
        np.testing.assert_array_equal(array, expected[name])
    with pytest.raises(ValueError, match="onset and apex"):
        video(clip, aligned=True)
    with pytest.raises(TypeError, match="unknown argument oneset"):
        video(clip, oneset=0)
    with pytest.raises(ValueError, match="got none"):
        video([])


@keys
def test_a_processor_refuses_unknown_arguments_by_name(key):
    """A misspelt `onset=` must not go unnoticed; what only other networks use is accepted."""
    processor = tiny_processor(key)
    processor(images=tiny_clip(), onset=0, apex=3, offset=4, landmarks_xy=None, action_units=None)
    with pytest.raises(TypeError, match=r"unknown argument onest\. Accepted: images, onset, apex, offset, "):
        processor(images=tiny_clip(), onest=0)


@keys
def test_relevance_needs_the_evaluation_mode(key):
    with pytest.raises(ValueError, match="relevance needs the model in evaluation mode"):
        tiny_model(key).train().relevance(target=1, **tiny_inputs(key))


@keys
def test_relevance_becomes_a_heat_map_on_the_face(key):
    model, processor = tiny_model(key), tiny_processor(key)
    inputs = processor(images=tiny_clip(), onset=0, apex=3, return_tensors="pt")
    heat = face_relevance(model, processor, inputs, target=1)
    size = processor.face_geometry["size"]
    assert heat.dtype == np.float32 and heat.shape[-2:] == (size, size) and heat.ndim in (2, 3)
    assert heat.min() >= 0 and heat.max() == 1
    assert all(p.grad is None for p in model.parameters()) and not model.training


@pytest.mark.parametrize("key", ["htnet", "mmnet", "facesleuth"])
def test_evidence_of_all_pixels_is_what_the_motion_adds_to_the_class(monkeypatch, key):
    model, inputs = tiny_model(key).double().eval(), tiny_inputs(key)
    monkeypatch.setattr(sys.modules[type(model).__module__], "RELEVANCE_STEPS", 300)
    inputs = {name: value.double() for name, value in inputs.items() if name != "labels"}
    inputs["pixel_values"] /= inputs["pixel_values"].std()
    moved, units = inputs["pixel_values"], [value for name, value in inputs.items() if name == "action_units"]
    still = torch.zeros_like(moved) if moved.ndim == 4 else moved[:, :1].expand_as(moved)
    scores = [logits_of(model, inputs | {"pixel_values": each}) for each in (moved, still)]
    for target in range(3):
        own, at_rest = (each[:, target] - each.mean(dim=1) for each in scores)
        found = model._evidence(moved, target, *units).sum(dim=(1, 2)).double()
        torch.testing.assert_close(found, own - at_rest, rtol=0.1, atol=0.1 * scores[0].std().item())
