import pytest

from mer_hf.data.readers import READERS
from mer_hf.labels import CodedUnit
from tests.data import trees


def read(name, root, **options):
    return READERS[name].read(root=root, **options)


def phases(found):
    return {each.key: (each.onset, each.apex, each.offset, each.apex_source) for each in found.annotations}


def test_casme2_is_read_and_its_known_mistakes_are_reported(tmp_path):
    found = read("casme2", trees.casme2(tmp_path))
    assert phases(found) == {
        "casme2/sub01/EP02_01f": (46, 59, 86, "annotated"),
        "casme2/sub04/EP12_01f": (261, 291, 321, "midpoint"),
        "casme2/sub05/EP09_05f": (69, 89, 110, "midpoint"),
        "casme2/sub17/EP01_2": (9, 12, 20, "annotated"),
        "casme2/sub26/EP09f": (5, 17, 30, "midpoint"),
    }
    fixed, excluded = dict(found.fixed), dict(found.excluded)
    assert "has no apex" in fixed["casme2/sub04/EP12_01f"]
    assert "apex is the onset (69), no motion" in fixed["casme2/sub05/EP09_05f"]
    assert "apex 40 lies outside 5 to 30" in fixed["casme2/sub26/EP09f"]
    assert "ends at frame 89, not after its onset at 90" in excluded["casme2/sub26/EP18_50"]
    assert "there is no folder" in excluded["casme2/sub27/EP01_01"]
    assert found.annotations[1].action_units == (CodedUnit(4), CodedUnit(10, "left"))
    assert found.sheet == "CASME2-coding-20140508.xlsx"


@pytest.mark.parametrize("preamble", [13, 0])
def test_samm_is_read_wherever_its_header_stands(tmp_path, preamble):
    found = read("samm", trees.samm(tmp_path, preamble))
    assert phases(found) == {
        "samm/006/006_1_2": (5562, 5588, 5632, "annotated"),
        "samm/011/011_1_1": (10, 20, 40, "annotated"),
        "samm/028/028_4_1": (1082, 1105, 1149, "annotated"),
        "samm/032/032_3_1": (4900, 4920, 4990, "annotated"),
    }
    assert [each.emotion for each in found.annotations] == ["happiness", "others", "contempt", "disgust"]
    fixed = [key for key, _ in found.fixed]
    assert ("samm/028/028_4_1", "apex 1200 lies outside the clip: 1105, as published") in found.fixed
    assert fixed.count("samm/006/006_1_2") == 1  # (R6 or R12)
    assert found.annotations[0].objective_class == "2"


def test_smic_has_no_sheet_and_no_apex(tmp_path):
    found = read("smic", trees.smic(tmp_path))
    assert phases(found) == {
        "smic/s01/s1_ne_01": (17581039, 17581044, 17581049, "midpoint"),
        "smic/s01/s1_po_12": (100, 110, 120, "midpoint"),
        "smic/s20/s20_sur_03": (5, 7, 9, "midpoint"),
    }
    assert dict(found.excluded)["smic/s20/s20_ne_09"] == "its name does not fit its folder surprise"
    assert not found.fixed  # the middle is the rule there, not a fix


def test_casme3_tells_clips_of_one_video_apart_and_fixes_impossible_rows(tmp_path):
    found = read("casme3", trees.casme3(tmp_path))
    assert phases(found) == {
        "casme3/spNO.1/a/10": (10, 15, 30, "annotated"),
        "casme3/spNO.1/a/50": (50, 55, 60, "annotated"),
        "casme3/spNO.3/J/5": (5, 9, 14, "annotated"),
        "casme3/spNO.149/d/112": (112, 123, 130, "annotated"),
        "casme3/spNO.216/e/0": (1, 6, 12, "midpoint"),
        "casme3/spNO.40/e/1830": (1830, 1838, 1845, "annotated"),
        "casme3/spNO.3/j/10": (10, 15, 34, "annotated"),
    }
    assert found.excluded == [("casme3/spNO.3/j/15", "lasts from frame 15 to 3999, more than 10 s")]
    assert {each.video for each in found.annotations} >= {"casme3/spNO.1/a", "casme3/spNO.3/j"}
    assert [each.emotion for each in found.annotations][1] == "happiness"
    assert found.annotations[4].emotion == "others"
    assert dict(found.fixed)["casme3/spNO.40/e/1830"] == "offset 0 cannot be: 1845"


def test_mmew_is_read_in_both_orders_of_its_folders(tmp_path):
    found = read("mmew", trees.mmew(tmp_path))
    assert phases(found) == {
        "mmew/1/S01-001-001": (1, 4, 8, "midpoint"),
        "mmew/3/S03-01-002": (1, 5, 9, "annotated"),
    }
    assert found.annotations[1].emotion == "others"


def test_4dme_keeps_a_clip_of_two_emotions_out_of_every_class(tmp_path):
    found = read("4dme", trees.fourdme(tmp_path))
    assert [each.emotion for each in found.annotations] == ["negative", "negative+surprise"]
    assert found.annotations[0].action_units == (CodedUnit(4),)  # (k) marks an uncertain one
    assert any("AU7(k)" in text for _, text in found.fixed)
    assert any("swaps the action units of two clips" in note for note in found.notes)


def test_casme_is_read(tmp_path):
    found = read("casme", trees.casme(tmp_path))
    assert phases(found) == {
        "casme/sub01/EP01_5": (3, 9, 20, "annotated"),
        "casme/sub02/EP02": (9, 14, 20, "midpoint"),
    }
    assert found.annotations[0].emotion == "tense"  # the project has no word for it; no scheme takes it


def test_the_composite_is_what_its_list_names_with_the_lists_classes(tmp_path):
    root, list_file = trees.composite(tmp_path)
    found = read("megc2019", root, list_file=list_file)
    assert [(each.key, each.emotion) for each in found.annotations] == [
        ("casme2/sub01/EP02_01f", "positive"),
        ("samm/006/006_1_2", "positive"),
        ("smic/s01/s1_ne_01", "negative"),
        ("smic/s20/s20_sur_03", "surprise"),
    ]
    assert found.excluded == [
        ("smic/s02/s02_sur_05", "is in the list, and not in the dataset"),
        ("casme2/26/EP18_50", "ends at frame 89, not after its onset at 90"),
        ("samm/006/006_1_2", "is in the list twice"),
    ]


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("megc2019", "table")])
def test_a_wrong_folder_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=r"--root .*absent is not a folder"):
        read(name, tmp_path / "absent")
    with pytest.raises(ValueError, match=r"holds no annotation sheet|holds no folder HS"):
        read(name, tmp_path)


def test_a_sheet_without_its_folders_or_columns_is_named(tmp_path):
    trees.workbook(
        tmp_path / "CASME2-coding.xlsx",
        [trees.CASME2_HEAD, [1, "EP02_01f", None, 1, 2, 3, None, "4", "disgust"]],
    )
    with pytest.raises(ValueError, match=r"none of the 1 clips .* Is it the right folder\?"):
        read("casme2", tmp_path)
    trees.workbook(tmp_path / "CASME2-coding.xlsx", [["Subject", "Filename"], [1, "EP02_01f"]])
    with pytest.raises(ValueError, match="has no column OnsetFrame or"):
        read("casme2", tmp_path)
    with pytest.raises(ValueError, match=r"--sheet .*other\.xlsx does not exist"):
        read("casme2", tmp_path, sheet=tmp_path / "other.xlsx")


def test_an_option_that_does_not_apply_is_refused(tmp_path):
    with pytest.raises(ValueError, match="prepare smic does not use --sheet"):
        read("smic", tmp_path, sheet=tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="prepare casme2 does not use --class-map"):
        read("casme2", tmp_path, class_map={"a": "b"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no clip"),
        ("casme2,sub01,EP02_01f,1\nmmew,1,x,0\n", "line 2: expected dataset"),
        ("casme2,sub01,EP02_01f,7\n", "line 1: expected"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read("megc2019", tmp_path, list_file=tmp_path / "list.csv")
    with pytest.raises(ValueError, match="prepare megc2019 needs --list FILE"):
        read("megc2019", tmp_path)
    (tmp_path / "list.csv").write_text("casme2,sub01,EP02_01f,1\n")
    with pytest.raises(ValueError, match="holds no folder casme2"):
        read("megc2019", tmp_path, list_file=tmp_path / "list.csv")
