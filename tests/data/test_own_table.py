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
    assert (found.key, found.emotion) == ("own/p1/clips/a", "happiness")
    assert (found.onset, found.apex, found.offset, found.apex_source) == (5, 10, 15, "midpoint")


def test_optional_columns_are_read(tmp_path):
    numbered(tmp_path / "a", 5, 15)
    head = "path,subject,label,onset,apex,offset,fps,action_units,dataset,clip,video,remark"
    path = table(tmp_path, "a,p1,stress,6,9,12,200,4+L12,lab,c7,v3,tired", head=head)
    found = READERS["table"].read(csv=path, class_map={"stress": "negative"})
    (clip,) = found.annotations
    assert (
        clip.key == "lab/p1/c7/6-9-12"
        and clip.emotion == "negative"
        and clip.fps == 200
        and clip.video == "lab/v3"
    )
    assert (clip.onset, clip.apex, clip.offset, clip.apex_source) == (6, 9, 12, "annotated")
    assert [unit.number for unit in clip.action_units] == [4, 12]
    assert found.notes == ["columns that were not read: remark"] and found.title == "own.csv"


def test_a_video_without_phases_is_left_to_spotting(tmp_path):
    (tmp_path / "a.mp4").touch()
    (found,) = read_user_table(table(tmp_path, "a.mp4,p1,fear")).annotations
    assert found.apex_source == "spotted" and found.onset is None


def test_rows_are_told_apart_by_path_and_phases_and_no_fault_hides_another(tmp_path):
    numbered(tmp_path / "day1" / "a", 5, 15)
    numbered(tmp_path / "day2" / "a", 5, 15)
    rows = ["day1/a,p,fear,5,7,9", "./day1/a,p,anger,10,12,14", "day2/a,p,fear,,,", "day1/a,p,stress,5,7,9"]
    rows += ["day1/b,p,stress,9,,5", "day1/b,p,stress,9,,5"]
    found = read_user_table(table(tmp_path, *rows, head="path,subject,label,onset,apex,offset"))
    keys = [clip.key for clip in found.annotations]
    assert keys == ["own/p/day1/a/5-7-9", "own/p/day1/a/10-12-14", "own/p/day2/a"]
    reasons = [reason for _, reason in found.excluded]
    absent, order = f"there is no {tmp_path / 'day1' / 'b'}", "ends at frame 5, not after its onset at 9"
    assert reasons == ["is annotated twice", f"{absent}; {order}", f"{absent}; is annotated twice; {order}"]
    assert found.notes == ["labels that are not known emotions: stress (3). --class-map gives them a class"]


@pytest.mark.parametrize(
    "text",
    [
        "path,subject,label,onset,apex,offset,fps\nx/a,Ann Lee,fear,6,,9,29.5\n",
        "path;subject;label;onset;apex;offset;fps\nx/a;Ann Lee;fear;6;NaN;9;29,5\n",
        "path\tsubject\tlabel\tonset\tapex\toffset\tfps\r\n\r\nx/a\tAnn Lee\tfear\t6.0\tNA\t9.0\t29.5\r\n",
        "\ufeffPath, Subject ,LABEL,Onset,Apex,Offset,FPS\nx\\a, Ann Lee , fear,6,nan,9,29.5\n,,,,,,\n",
    ],
)
def test_tables_are_read_as_spreadsheets_and_programs_write_them(tmp_path, text):
    numbered(tmp_path / "x" / "a", 5, 15)
    (tmp_path / "own.csv").write_bytes(text.encode())
    (clip,) = read_user_table(tmp_path / "own.csv").annotations
    assert (clip.key, clip.emotion, clip.fps) == ("own/Ann Lee/x/a/6-9", "fear", 29.5)
    assert (clip.onset, clip.apex, clip.offset, clip.apex_source) == (6, 7, 9, "midpoint")


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("path,label", "a,x", "lacks the column subject; it has path, label"),
        (
            "path|subject|label",
            "a|p|x",
            r"it has path\|subject\|label. Separate columns by commas, semicolons",
        ),
        ("path,subject,label,Path", "a,p,x,b", "has the column path more than once"),
        ("path,subject,label", "", "has no row below its header"),
        ("path,subject,label", "a,p,x,4,", "line 2: it has more cells than the header: 4"),
        ("path,subject,label,fps", "a,NaN,,x", "subject is empty; label is empty; fps must be .* got 'x'"),
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
