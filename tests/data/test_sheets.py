import openpyxl
import pytest

from mer_hf.data.sheets import frame_number, read_sheet
from mer_hf.labels import CodedUnit, parse_action_units
from tests.data.trees import workbook


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4+L10", [(4, "", ""), (10, "left", "")]),
        ("R6+R12", [(6, "right", ""), (12, "right", "")]),
        ("A14C", [(14, "asymmetric", "C")]),
        ("AU4, AU7", [(4, "", ""), (7, "", "")]),
        ("1\uff0c2", [(1, "", ""), (2, "", "")]),  # a full-width comma
        ("T23+B25", [(23, "top", ""), (25, "bottom", "")]),
        ("(R6 or R12) + R15", [(6, "right", ""), (15, "right", "")]),
        ("R14A or 17A or 24A", [(14, "right", "A")]),
        ("10A/B", [(10, "", "A")]),
        ("4.0", [(4, "", "")]),  # a cell that holds one number
        ("61+64", [(61, "", ""), (64, "", "")]),
        ("?", []),
        ("", []),
        ("4+4", [(4, "", "")]),
        ("AD38+4", [(4, "", "")]),
        ("soft focus", []),
        ("ref(7B)+43", [(43, "", "")]),
        ("7(k)", []),  # uncertain
    ],
)
def test_coded_action_units_are_read(text, expected):
    assert parse_action_units(text)[0] == tuple(CodedUnit(*unit) for unit in expected)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("(R6 or R12)", ("(R6 or R12): took R6",)),
        ("soft focus", ("excluded soft focus",)),
        ("4+L10", ()),
        ("?", ()),
    ],
)
def test_what_is_ambiguous_is_noted(text, notes):
    assert parse_action_units(text)[1] == notes


@pytest.mark.parametrize(
    ("text", "number"),
    [("46", 46), ("46.0", 46), ("/", None), ("", None), ("-3", None), ("4.5", None), ("nan", None)],
)
def test_frame_numbers_are_read(text, number):
    assert frame_number(text) == number


def test_the_header_is_found_below_a_preamble(tmp_path):
    workbook(tmp_path / "a.xlsx", [["a title"], [], [" Subject ", "Filename"], ["006", "x "], [None, None]])
    assert read_sheet(tmp_path / "a.xlsx") == [{"subject": "006", "filename": "x"}]
    for text in ("Subject,Filename\n006,x\n", "Subject;Filename\n006;x\n", "Subject\tFilename\n006\tx\n"):
        (tmp_path / "a.csv").write_text(text)
        assert read_sheet(tmp_path / "a.csv") == [{"subject": "006", "filename": "x"}]


@pytest.mark.parametrize("cell", ["XFD1048576", "A1048576", "XFD1"])
def test_a_cell_far_away_makes_no_large_sheet(tmp_path, cell):
    book = openpyxl.Workbook()
    book.active.append(["Subject", "Filename"])
    book.active[cell] = "x"
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="more than 100,000 rows or 1000 columns"):
        read_sheet(tmp_path / "a.xlsx")


def test_a_row_longer_than_the_header_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("Subject,Filename\n006,x,y\n")
    with pytest.raises(ValueError, match="more cells than its header in the row 006, x, y"):
        read_sheet(tmp_path / "a.csv")


def test_what_is_not_a_sheet_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match=r"a\.xlsx cannot be read as a sheet") as caught:
        read_sheet(tmp_path / "a.xlsx")
    assert "\n" not in str(caught.value)
    workbook(tmp_path / "b.xlsx", [["x", "y"]])
    with pytest.raises(ValueError, match="no header row with the cell 'Subject'"):
        read_sheet(tmp_path / "b.xlsx")
