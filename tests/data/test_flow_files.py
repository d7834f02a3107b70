import csv

import numpy as np
import pytest
from PIL import Image

from mer_hf.data.flow_files import FlowMaps, read_flow_maps, write_flow_maps


def arrays(clips=12, **changes):
    """Twelve maps of four subjects of two datasets."""
    rng = np.random.default_rng(0)
    made = {
        "flow": rng.integers(0, 256, (clips, 28, 28, 3), dtype=np.uint8),
        "label": np.arange(clips) % 3,
        "subject": np.array([f"s{index // 3}" for index in range(clips)]),
        "dataset": np.array(["a" if index < 6 else "b" for index in range(clips)]),
    }
    made["flow"][:, 0, 0, 0] = made["label"]
    made.update(changes)
    return {name: array for name, array in made.items() if array is not None}


def saved(tmp_path, **changes):
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = saved(tmp_path, label=(np.arange(12) % 3).astype(np.uint8))
    data = read_flow_maps(path)
    assert len(data) == 12 and data.label.dtype == np.int64 and data.source == str(path)
    assert np.array_equal(data.flow, arrays()["flow"])
    assert data.subject[3] == "s1" and data.dataset[6] == "b"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "no array label"),
        ({"subject": None, "dataset": None}, "no array subject, dataset"),
        ({"flow": np.zeros((12, 28, 28, 3))}, r"flow must be uint8 .* got float64 \(12, 28, 28, 3\)"),
        ({"flow": np.zeros((12, 3, 28, 28), np.uint8)}, r"got uint8 \(12, 3, 28, 28\)"),
        ({"flow": np.zeros((0, 28, 28, 3), np.uint8)}, "with N > 0"),
        ({"label": np.zeros(12)}, r"label must be 12 integers, one per map, got float64 \(12,\)"),
        ({"label": np.zeros(11, int)}, r"got int64 \(11,\)"),
        ({"label": -np.ones(12, int)}, "label must lie in 0 to 999, got -1"),
        ({"subject": np.zeros((12, 1), "U3")}, r"subject must be 12 strings, one per map, got <U3 \(12, 1\)"),
        ({"dataset": np.zeros(12, int)}, "dataset must be 12 strings"),
        (
            {"subject": np.array(["a"] * 12, dtype=object)},
            "subject is object",
        ),
    ],
)
def test_a_missing_or_wrong_array_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_flow_maps(saved(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_what_is_not_an_archive_is_refused_in_one_line(tmp_path):
    whole = saved(tmp_path).read_bytes()
    middle = bytearray(whole)
    middle[5000:5100] = bytes(100)
    np.save(tmp_path / "bare.npy", np.zeros(3))
    files = {
        "cut.npz": whole[: len(whole) // 2],
        "changed.npz": bytes(middle),
        "text.npz": b"flow,label\n1,2\n",
        "empty.npz": b"",
        "bare.npz": (tmp_path / "bare.npy").read_bytes(),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name) as caught:
            read_flow_maps(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"absent\.npz cannot be read"):
        read_flow_maps(tmp_path / "absent.npz")


def test_what_is_written_is_read_again_and_nothing_else_is_left(tmp_path):
    write_flow_maps(tmp_path / "made.npz", FlowMaps(**arrays()))
    assert np.array_equal(read_flow_maps(tmp_path / "made.npz").flow, arrays()["flow"])
    assert [path.name for path in tmp_path.iterdir()] == ["made.npz"]


def picture_folder(folder, **changes):
    made = arrays()
    rows = [
        {"file": f"{i}.png", "label": made["label"][i], "subject": made["subject"][i], "dataset": "a"}
        for i in range(12)
    ]
    for i, picture in enumerate(made["flow"]):
        Image.fromarray(picture).save(folder / f"{i}.png")
    rows[3] |= changes
    with open(folder / "list.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_of_pictures_with_a_list_is_a_source_too(tmp_path):
    picture_folder(tmp_path)
    data = read_flow_maps(tmp_path)
    assert np.array_equal(data.flow, arrays()["flow"]) and data.subject[3] == "s1"
    assert data.label.tolist() == arrays()["label"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "absent.png"}, "line 5: absent.png cannot be read"),
        ({"file": "list.csv"}, "line 5: list.csv cannot be read"),
        ({"label": "happy"}, "line 5: label must be a class index, got 'happy'"),
    ],
)
def test_a_wrong_row_of_the_list_is_named(tmp_path, changes, message):
    picture_folder(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        read_flow_maps(tmp_path)


def test_a_folder_without_a_list_and_a_picture_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no list\.csv"):
        read_flow_maps(tmp_path)
    picture_folder(tmp_path)
    Image.new("RGB", (30, 28)).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match="must be 28 x 28, got 30 x 28"):
        read_flow_maps(tmp_path)


def test_the_table_tells_subjects_of_datasets_apart():
    table = FlowMaps(**arrays(subject=np.array(["s1"] * 12))).table()
    assert sorted(set(table.subjects)) == ["a/s1", "b/s1"]
    assert table.class_names == ("negative", "positive", "surprise")
    assert FlowMaps(**arrays(label=np.full(12, 4))).table().class_names[4] == "class4"
