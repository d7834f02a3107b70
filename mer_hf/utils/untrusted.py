"""Read what somebody else made: regular files of bounded size, JSON and CSV, arrays, headers of weights.

Sizes are read before contents. Every error is a `ValueError` of one line: the file, what was found, and what
is allowed.
"""

import csv
import io
import json
import math
import os
import stat
import types
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, Union, get_args, get_origin

import numpy as np
from safetensors import safe_open

MOST_JSON_BYTES = 20_000_000
MOST_TEXT_BYTES = 50_000_000
MOST_HEADER_BYTES = 10_000_000
MOST_ARRAY_BYTES = 1_000_000_000
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 60


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file for reading; a pipe or device, which may never end, is refused."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # no wait for a pipe
    file = open(os.open(path, flags), "rb")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path} is not a regular file. Replace it by the file itself.")
    return file


def read_text(path: str | os.PathLike, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """Read a text file in UTF-8, with or without a byte order mark."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise ValueError(f"{path} has {size:,} bytes; at most {most_bytes:,} are read.")
        content = file.read(most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}). Save it in UTF-8.") from error


def in_one_line(error: BaseException) -> str:
    """Return the message of an error in one line of bounded length, or the name of its type."""
    return " ".join(str(error).split())[:300] or type(error).__name__


# --- JSON ---------------------------------------------------------------------------------------------------


def fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a type as annotations write it; an `int` is also a `float`, no `bool` is."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin is dict:
        keys, values = inner or (Any, Any)
        return isinstance(value, dict) and all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if origin is tuple and inner and inner[-1] is not Ellipsis and isinstance(value, list | tuple):
        return len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(fits(each, (inner or (Any,))[0]) for each in value)
    if origin in (int, float):
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    return value is None if origin is None else isinstance(value, origin)


def check_kinds(values: Any, kinds: Any, where: str) -> None:
    """Raise `ValueError` unless values are of their kinds.

    Args:
        values (`Any`): What was read.
        kinds (`type` or `Mapping[str, type]`): A type as annotations write it; or the fields of an object, of
            which those that are missing count as `None`.
        where (`str`): The file, for the message.
    """
    if isinstance(kinds, Mapping):
        check_kinds(values, dict, where)
        for name, kind in kinds.items():
            check_kinds(values.get(name), kind, f"{where}: {name}")
    elif not fits(values, kinds):
        allowed = kinds.__name__ if isinstance(kinds, type) else str(kinds).replace("typing.", "")
        raise ValueError(f"{where} must be {allowed}, got {shown(values)}.")


def shown(value: Any) -> str:
    """Return a value as text of bounded length, for messages."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def parse_json(text: str, where: str) -> Any:
    """Parse JSON whose numbers are all finite; `where` is for the message."""
    try:
        kinds = {"parse_float": _finite, "parse_int": partial(_finite, kind=int)}
        return json.loads(text, parse_constant=_refuse_constant, **kinds)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else in_one_line(error)
        raise ValueError(f"{where} is not valid JSON ({reason}).") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text[:_SHOWN]} is not a finite number")


def _finite(text: str, kind: type = float) -> float:
    return kind(text) if math.isfinite(float(text)) else _refuse_constant(text)


def read_json(path: Path, kinds: Any = dict, default: Any = None, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path (`Path`): The file.
        kinds (`type` or `Mapping[str, type]`, *optional*, defaults to `dict`): What it holds, see
            `check_kinds`.
        default (`Any`, *optional*): Stands for a missing file; by default that is an error.
        most_bytes (`int`, *optional*): Larger files are refused.

    Returns:
        `Any`: Its content.

    Raises:
        ValueError: In one line, if it is missing, too large, not JSON, nested too deep, or holds an infinite
            number or a value of another kind.
    """
    if not os.path.lexists(path):
        if default is None:
            raise ValueError(f"{path.parent} lacks {path.name}. Is the run finished? Continue with --resume.")
        return default
    value = parse_json(read_text(path, most_bytes), str(path))
    check_kinds(value, kinds, str(path))
    return value


def read_json_lines(path: Path, kinds: Any = dict) -> list:
    """Read a log with one JSON value a line, `[]` if there is none, without a last line that was cut off."""
    values = []
    for number, line in enumerate(read_text(path).split("\n")[:-1] if path.is_file() else [], 1):
        values.append(parse_json(line, f"{path}, line {number}"))
        check_kinds(values[-1], kinds, f"{path}, line {number}")
    return values


# --- tables -------------------------------------------------------------------------------------------------


def separator(text: str, column: str = "") -> str:
    """Return what separates the columns of a CSV text: comma, semicolon or tab, the commonest in its header.

    The header is the first line that holds `column`, in any case.
    """
    header = next((line for line in text.splitlines() if column.lower() in line.lower()), "")
    return max(",;\t", key=header.count)


def read_csv(path: Path, delimiter: str = ",", text: str | None = None) -> list[tuple[int, list[str]]]:
    """Read a CSV file, or its text: rows with the number of the line they end in."""
    lines = io.StringIO(read_text(path) if text is None else text, newline=None)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def read_records(
    path: Path, columns: tuple[str, ...], delimiter: str = ",", text: str | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header: rows as column -> text, with their lines, the header being complete."""
    (_, header), *rows = [each for each in read_csv(path, delimiter, text) if each[1]] or [(0, [])]
    if missing := [name for name in columns if name not in header]:
        raise ValueError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header) or 'none'}."
        )
    if len(set(header)) < len(header):
        raise ValueError(f"{path} has two columns of one name: {', '.join(header)}.")
    for number, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} cells where the header has {len(header)}.")
    return [(number, dict(zip(header, row, strict=True))) for number, row in rows]


def finite(text: str | None, what: str) -> float:
    """Read a number of a table; its point may be a comma."""
    try:
        return _finite((text or "").replace(",", "."))
    except ValueError as error:
        raise ValueError(f"{what} must be a number, got {shown(text)}") from error


# --- arrays -------------------------------------------------------------------------------------------------


def read_npz(
    path: Path, names: tuple[str, ...] | None = None, most_bytes: float | None = None
) -> dict[str, np.ndarray]:
    """Read arrays of an .npz file, by default all; sizes are taken from headers before anything is read."""
    most_bytes = MOST_ARRAY_BYTES if most_bytes is None else most_bytes
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if missing := [name for name in names or () if name not in members]:
                raise ValueError(f"no array {', '.join(missing)}")
            chosen = {name: members[name] for name in names or members}
            if sum(entry.file_size for entry in chosen.values()) > most_bytes:
                raise ValueError(f"more than {most_bytes:,} bytes of arrays")
            return {name: _read_array(archive, name, entry) for name, entry in chosen.items()}
    except Exception as error:  # zipfile, zlib and numpy raise exceptions of every kind
        raise ValueError(f"{path} cannot be read ({in_one_line(error)}).") from error


def _read_array(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo) -> np.ndarray:
    """Read one array whose header fits the size of its member."""
    form = np.lib.format
    headers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    with archive.open(entry) as file:
        shape, _, kind = headers[form.read_magic(file)](file)
        left = entry.file_size - file.tell()
    if kind.hasobject or math.prod(shape) * kind.itemsize != left:
        raise ValueError(f"{name} is {kind} {shape}, which is not what its {left:,} bytes hold")
    with archive.open(entry) as file:
        return form.read_array(file, allow_pickle=False)


# --- weights ------------------------------------------------------------------------------------------------


def weight_files(folder: Path) -> list[Path]:
    """Return the weight file of a checkpoint, or the shards that its index names."""
    if not os.path.lexists(folder / INDEX):
        if not os.path.lexists(folder / WEIGHTS):
            raise ValueError(f"{folder} lacks {WEIGHTS}. Is the run finished?")
        return [folder / WEIGHTS]
    names = sorted(set(read_json(folder / INDEX, {"weight_map": dict[str, str]})["weight_map"].values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{folder / INDEX} names the shard {name}, which is not there.")
    if (folder / WEIGHTS).exists() and WEIGHTS not in names:
        raise ValueError(f"{folder} holds {WEIGHTS} and the index of other weights. Remove one of them.")
    return [folder / name for name in names]


def read_header(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and type of every tensor in a safetensors file, without reading a tensor."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
    try:
        if size > MOST_HEADER_BYTES:
            raise ValueError(f"its header has {size:,} bytes; at most {MOST_HEADER_BYTES:,} are read")
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return {name: (tuple(each.get_shape()), each.get_dtype()) for name, each in slices.items()}
    except Exception as error:  # the library has several of its own
        raise ValueError(f"{path} is not valid safetensors ({in_one_line(error)}).") from error
