"""The house stays small: lines of code, length of functions, one name for one thing."""

from pathlib import Path

import pytest

from tests import size

MAX_LINES = 17_182
"""Refusing hostile input took 600 of them, other programs' formats 1,000, people, folders and cameras 700,
ONNX and a second task in training 200, a benchmark for others 200, and a quicker start 98."""
MAX_FUNCTION = 60
ENDS_OF_ONE_THING = {"training/cli.py", "training/data.py"}
"""Modules that may be called like another room: the command line of `train.py`, and what a run trains on."""


def too_large(package: Path, limit: int) -> str:
    rooms = size.code_by_room(package)
    total = sum(rooms.values())
    return "" if total < limit else f"{total} lines of code, expected fewer than {limit}: {rooms}"


def too_long(package: Path, limit: int) -> list[str]:
    return [f"{place}: {lines} lines" for place, lines in size.functions(package) if lines > limit]


def test_the_package_stays_small():
    assert not (message := too_large(size.PACKAGE, MAX_LINES)), message


def test_no_function_is_long():
    assert not (long := too_long(size.PACKAGE, MAX_FUNCTION)), "\n".join(long)


def test_no_two_rooms_have_a_module_of_the_same_name():
    assert not (names := size.shared_names(size.PACKAGE, ENDS_OF_ONE_THING)), names


SOURCE = '''"""A module."""

# a comment
NAME = """two
lines"""
"""Describes the constant."""


def function(
    argument,
):
    """Return it.

    In two lines.
    """
    return argument  # and a comment
'''


@pytest.fixture
def package(tmp_path):
    for name in ("a/thing.py", "b/thing.py", "b/a.py", "b/other.py", "cli/other.py", "thing.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SOURCE)
    (tmp_path / "a" / "__init__.py").write_text('"""Only a docstring."""\n')
    return tmp_path


def test_only_code_is_counted(package):
    assert size.code_lines(SOURCE) == {4, 5, 9, 10, 11, 16}
    assert size.code_by_room(package) == {"b": 18, "a": 6, "cli": 6, "thing": 6}
    assert too_large(package, 36).startswith("36 lines of code, expected fewer than 36")
    assert not too_large(package, 37)


def test_long_functions_and_shared_names_are_found(package):
    assert len(too_long(package, 3)) == 6 and not too_long(package, 4)
    assert too_long(package, 3)[0] == "a/thing.py:9 function: 4 lines"
    assert size.shared_names(package, set()) == {"a": ["a", "b"], "thing": ["a", "b", "thing"]}
    assert size.shared_names(package, {"b/a.py", "thing.py"}) == {"thing": ["a", "b"]}
