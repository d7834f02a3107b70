"""Lines of code by room, without docstrings, comments and blank lines.

python -m tests.size
"""

import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mer_hf"

BESIDE_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstring_lines(node: Documented) -> set[int]:
    """Return the lines of bare strings in a body: a docstring, or the description of a constant."""
    texts = (
        each for each in node.body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
    )
    return {
        line
        for each in texts
        if isinstance(each.value.value, str)
        for line in range(each.lineno, each.end_lineno + 1)
    }


def code_lines(text: str) -> set[int]:
    """Return the lines of a module that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in BESIDE_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Documented):
            lines -= docstring_lines(node)
    return lines


def python_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.py"))
    return [file for file in files if "checkpoints" not in file.parts]  # copies, made by hatch_build.py


def room_of(path: Path, package: Path) -> str:
    """Return the folder of the package that a module lies in, or the module itself."""
    return path.relative_to(package).with_suffix("").parts[0]


def code_by_room(package: Path) -> dict[str, int]:
    """Return the lines of code of every room, the largest first."""
    rooms: dict[str, int] = defaultdict(int)
    for path in python_files(package):
        rooms[room_of(path, package)] += len(code_lines(path.read_text()))
    return dict(sorted(rooms.items(), key=lambda item: -item[1]))


def functions(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield every function's place and its lines, without its docstring."""
    for path in python_files(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1 - len(docstring_lines(node))
                yield f"{path.relative_to(folder)}:{node.lineno} {node.name}", lines


def shared_names(package: Path, allowed: set[str]) -> dict[str, list[str]]:
    """Return the module names that occur in several rooms, or are the name of another room -> these rooms.

    A command may be called like what it runs (`cli/`), and `__init__` and `__main__` occur everywhere.
    """
    modules = [path for path in python_files(package) if path.stem not in ("__init__", "__main__")]
    rooms = defaultdict(set, {path.name: {path.name} for path in package.iterdir() if path.is_dir()})
    for path in modules:
        room = room_of(path, package)
        if room != "cli" and path.relative_to(package).as_posix() not in allowed:
            rooms[path.stem].add(room)
    return {name: sorted(each) for name, each in sorted(rooms.items()) if len(each) > 1}


def main() -> None:
    """Print the lines of code of every room and the totals."""
    rooms = code_by_room(PACKAGE)
    totals = {name: sum(code_by_room(ROOT / name).values()) for name in ("space", "tests", "benchmarks")}
    rows = [*rooms.items(), ("mer_hf", sum(rooms.values())), *totals.items()]
    width = max(len(name) for name, _ in rows)
    for name, lines in rows:
        if name == "mer_hf":
            print("-" * (width + 8))
        print(f"{name:{width}}  {lines:6,}")


if __name__ == "__main__":
    main()
