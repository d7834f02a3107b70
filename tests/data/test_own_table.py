import pytest

from mer_hf.data.readers import READERS
from mer_hf.data.readers.own_table import read_class_map, read_user_table
from tests.data.trees import numbered


def table(tmp_path, *lines, head="path,subject,label"):
    (tmp_path / "own.csv").write_text("\n".join([head, *lines]) + "\n")
    return tmp_path / "own.csv"


def test_a_folder_without_phases_is_one_expression_from_its_first_to_its_last_frame(tmp_path):
    numbered(tmp_path / "clips" / "a", 5, 15)
    (found,) = read_user_table(table(tmp_path, "clips/a,p1,Happy")).annotations
    assert (found.key, found.emotion) == ("own/p1/a", "happiness")
    assert (found.onset, found.apex, found.offset, found.apex_source) == (5, 10, 15, "midpoint")


def test_optional_columns_are_read(tmp_path):
    numbered(tmp_path / "a", 5, 15)
    head = "path,subject,label,onset,apex,offset,fps,action_units,dataset,clip,video,remark"
    path = table(tmp_path, "a,p1,stress,6,9,12,200,4+L12,lab,c7,v3,tired", head=head)
    found = READERS["table"].read(csv=path, class_map={"stress": "negative"})
    (clip,) = found.annotations
    assert (
        clip.key == "lab/p1/c7" and clip.emotion == "negative" and clip.fps == 200 and clip.video == "lab/v3"
    )
    assert (clip.onset, clip.apex, clip.offset, clip.apex_source) == (6, 9, 12, "annotated")
    assert [unit.number for unit in clip.action_units] == [4, 12]
    assert found.notes == ["columns that were not read: remark"] and found.title == "own.csv"


def test_a_video_without_phases_is_left_to_spotting(tmp_path):
    (tmp_path / "a.mp4").touch()
    (found,) = read_user_table(table(tmp_path, "a.mp4,p1,fear")).annotations
    assert found.apex_source == "spotted" and found.onset is None


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("path,label", "a,x", "lacks the column subject; it has path, label"),
        ("path,subject,label", "a,,x", "line 2: subject is empty"),
        ("path,subject,label,onset", "a,p,x,first", "line 2: onset must be a frame number, got 'first'"),
        ("path,subject,label,fps", "a,p,x,-3", "line 2: fps must be a number above 0, got '-3'"),
        ("path,subject,label,fps", "a,p,x,0", "line 2: fps must be a number above 0, got '0'"),
        ("path,subject,label", "b,p,x", "leaves no clip: own/p/b there is no"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, head, line, message):
    numbered(tmp_path / "a", 5, 15)
    with pytest.raises(ValueError, match=message):
        read_user_table(table(tmp_path, line, head=head))


def test_a_missing_file_and_other_encodings_are_reported(tmp_path):
    with pytest.raises(ValueError, match=r"--csv .*absent\.csv does not exist"):
        READERS["table"].read(csv=tmp_path / "absent.csv")
    (tmp_path / "own.csv").write_bytes("path,subject,label\na,M\xfcller,x\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_user_table(tmp_path / "own.csv")


def test_labels_are_mapped_by_pairs_or_a_file(tmp_path):
    assert read_class_map(["a=x", "b=y"]) == {"a": "x", "b": "y"}
    (tmp_path / "map.json").write_text('{"a": "x"}')
    assert read_class_map([str(tmp_path / "map.json")]) == {"a": "x"}
    for wrong in (["a"], ["a=x", "b"], ["=x"]):
        with pytest.raises(ValueError, match="--class-map"):
            read_class_map(wrong)
    (tmp_path / "map.json").write_text("[1]")
    with pytest.raises(ValueError, match="is not a JSON file of label: class"):
        read_class_map([str(tmp_path / "map.json")])
