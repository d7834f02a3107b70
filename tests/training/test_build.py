import pytest
import torch

from mer_hf.loading import load
from mer_hf.training.build import build_model, build_processor, save_checkpoint
from mer_hf.training.config import TrainingError

NAMES = ("negative", "positive", "surprise")


@pytest.fixture
def checkpoint(tiny, tmp_path):
    torch.manual_seed(0)
    config = tiny(processor={"flow_method": "dis", "normalization": "standardize"})
    model, processor = build_model(config, NAMES), build_processor(config)
    save_checkpoint(model, processor, tmp_path / "start", config)
    return str(tmp_path / "start"), model.state_dict()


def test_fields_reach_the_model_and_its_processor(tiny):
    config = tiny(processor={"mosaic": "corrected"})
    model, processor = build_model(config, NAMES), build_processor(config)
    assert model.training and model.config.hidden_size == 12 and model.config.hidden_dropout_prob == 0.1
    assert model.config.id2label == dict(enumerate(NAMES)) and processor.mosaic == "corrected"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet"}, "--model resnet is unknown. Choose from htnet"),
        ({"config": {"hiden_size": 4}}, "--config hiden_size: HTNetConfig has no such field"),
        ({"config": {"num_labels": 4}}, "--config num_labels: HTNetConfig has no such field"),
        ({"config": {"hidden_size": "big"}}, "--config: hidden_size must be int, got 'big'"),
        ({"config": {"mlp_ratio": 4096}}, "--config: mlp_ratio must lie in 0.1 to 32, got 4096"),
        ({"config": {"hidden_act": "no"}}, "hidden_act must be Literal['gelu'"),
        ({"processor": {"face_geometry": {"size": "x"}}}, "face_geometry: size must be int, got 'x'"),
        ({"config": {"hidden_size": 1}}, "a head needs at least one channel"),
        ({"processor": {"mosiac": "original"}}, "--processor mosiac: HTNetImageProcessor has no such field"),
        ({"processor": {"mosaic": "none"}}, "unknown mosaic 'none'"),
        ({"init_from": "nowhere"}, "there is no model 'nowhere'"),
    ],
)
def test_a_mistake_is_told_in_one_line(tiny, changes, message):
    with pytest.raises(TrainingError) as caught:
        build_processor(tiny(**changes))
        build_model(tiny(**changes), NAMES)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_is_started_from(tiny, checkpoint):
    folder, weights = checkpoint
    # What has no part in the weights may change: here the dropout and the mosaic.
    config = tiny(init_from=folder, config={"hidden_dropout_prob": 0.3}, processor={"mosaic": "corrected"})
    model, processor = build_model(config, NAMES), build_processor(config)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.training and any(
        module.p == 0.3 for module in model.modules() if isinstance(module, torch.nn.Dropout)
    )
    assert processor.normalization == "standardize" and processor.mosaic == "corrected"


def test_other_classes_get_a_new_last_layer(tiny, checkpoint):
    folder, weights = checkpoint
    model = build_model(tiny(init_from=folder, config={}), ("a", "b", "c", "d"))
    assert model.config.num_labels == 4 and model.config.id2label[3] == "d"
    kept = [
        name for name, value in model.state_dict().items() if torch.equal(value, weights[name][: len(value)])
    ]
    assert sum(name.startswith(model.base_model_prefix) for name in kept) > 10
    assert not any(name.startswith("classifier") and name.endswith("weight") for name in kept)


def test_a_checkpoint_of_another_shape_is_refused(tiny, checkpoint):
    with pytest.raises(TrainingError, match="size mismatch"):
        build_model(tiny(init_from=checkpoint[0], config={"hidden_size": 24}), NAMES)


def test_half_precision_on_disk_is_loaded_as_float32(tiny, tmp_path):
    config = tiny(dtype_on_disk="float16")
    model, processor = build_model(config, NAMES), build_processor(config)
    save_checkpoint(model, processor, tmp_path / "half", config)
    save_checkpoint(model, processor, tmp_path / "full", tiny())
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    loaded, _ = load(tmp_path / "half")
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-6)
    assert (
        type(model).from_pretrained(tmp_path / "half").dtype == torch.float32
    )  # also where none asks for it
