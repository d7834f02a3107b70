"""What settings may hold follows from the classes that take them."""

import json

import pytest

from mer_hf.registry import ARCHITECTURES
from mer_hf.utils.settings import check_settings, read_settings_of
from tests.models.tiny import TINY

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
every = pytest.mark.parametrize("key", ARCHITECTURES)


@every
def test_the_published_and_the_tiny_network_are_allowed(key, tmp_path):
    for made, tiny in (
        (ARCHITECTURES[key].config_class, TINY[key].config),
        (ARCHITECTURES[key].processor_class, TINY[key].processor),
    ):
        values = json.loads(json.dumps(made().to_dict(), default=str))
        check_settings(made, values, "x")
        check_settings(made, values | tiny | {"unknown": {"kept": "for later versions"}}, "x")


@every
@pytest.mark.parametrize("wrong", [[], {}, "x", 10**30, -1, 1e300, [[["x"]]], True])
def test_no_field_takes_everything(key, wrong):
    """Each field refuses most of what cannot be meant; what fits its type and range is a setting."""
    made = ARCHITECTURES[key].config_class
    refused = 0
    for name in TINY[key].config:
        try:
            check_settings(made, {name: wrong}, "x")
        except ValueError as error:
            assert str(error).startswith(f"x: {name} ") and "\n" not in str(error)
            refused += 1
    assert refused == len(TINY[key].config) or wrong == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (CONFIG, {"hidden_size": 4096 * 8}, "hidden_size must lie in 1 to 2048, got 32768"),
        (CONFIG, {"mlp_ratio": 4096}, "mlp_ratio must lie in 0.1 to 32, got 4096"),
        (CONFIG, {"image_size": 2800}, "image_size must lie in 1 to 448"),
        (CONFIG, {"depths": [1] * 100}, "depths has more than 64 entries"),
        (CONFIG, {"depths": [1, 1000, 1]}, "depths must lie in 0 to 80, got 1000"),
        (CONFIG, {"hidden_act": 5}, "hidden_act must be Literal"),
        (CONFIG, {"hidden_size": None}, "hidden_size must be int, got None"),
        (CONFIG, {"dtype": "x"}, "dtype must be "),
        (CONFIG, {"id2label": []}, "id2label must be dict"),
        (CONFIG, {"id2label": {"0": "x", "1": "x", "2": "y"}}, "id2label names two classes 'x'"),
        (CONFIG, {"id2label": {"0": "x", "2": "y"}}, "id2label must number 2 to 1000 classes from 0"),
        (CONFIG, {"id2label": {"0": "x", "1": "a\nb"}}, "names of classes have 1 to 100 letters"),
        (CONFIG, {"id2label": {"0": "x", "1": "y"}, "label2id": {"x": 1, "y": 0}}, "label2id does not fit"),
        (CONFIG, {"num_labels": 10**9}, "num_labels must lie in 1 to 1000"),
        (PROCESSOR, {"face_geometry": {"size": 4096}}, None),  # the dataclass of crops knows its range
        (PROCESSOR, {"face_geometry": {"size": []}}, "face_geometry: size must be int"),
        (PROCESSOR, {"face_geometry": {"sise": 5}}, "face_geometry has no 'sise'"),
        (PROCESSOR, {"average_frames": 10**6}, "average_frames must lie in 1 to 64"),
        (PROCESSOR, {"mosaic": []}, "mosaic must be str"),
        (PROCESSOR, {"preprocess": 5}, None),  # it would hide a method: left out
    ],
)  # fmt: skip
def test_a_setting_of_another_kind_is_named_with_what_is_allowed(tmp_path, file, change, words):
    own = ARCHITECTURES["htnet"]
    made = own.config_class if file == CONFIG else own.processor_class
    (tmp_path / file).write_text(json.dumps({"id2label": None} | change))
    if words is None:
        assert callable(read_settings_of(made, tmp_path).preprocess)
        return
    with pytest.raises(ValueError) as caught:
        read_settings_of(made, tmp_path)
    assert words in str(caught.value) and file in str(caught.value) and "\n" not in str(caught.value)
