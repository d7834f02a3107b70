"""Whatever is wrong with a file, its reader says so in one line, and takes neither time nor memory before."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from mer_hf.utils.untrusted import (
    MOST_ARRAY_BYTES,
    check_kinds,
    fits,
    open_regular,
    read_csv,
    read_header,
    read_json,
    read_json_lines,
    read_npz,
    read_records,
    weight_files,
)


def refused(words, call, *arguments):
    with pytest.raises(ValueError, match=words) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True), (True, int, False), (1, float, True), (True, float, False), (1.0, int, False),
        (None, int | None, True), ("x", int | None, False), ([1, 2], list[int], True),
        ([1, "x"], list[int], False),
        ([1, 2], tuple[float, float], True), ([1], tuple[float, float], False), ([1], tuple[int, ...], True),
        ({"a": 1}, dict[str, int], True), ({"a": []}, dict[str, int], False), ({}, dict, True),
        ([], dict, False),
    ],
)  # fmt: skip
def test_values_are_told_by_their_kind(value, kind, expected):
    assert fits(value, kind) is expected


def test_a_field_that_is_missing_counts_as_none():
    check_kinds({"a": 1}, {"a": int, "b": str | None}, "x.json")
    refused(r"x\.json: b must be str, got None\.", check_kinds, {"a": 1}, {"b": str}, "x.json")
    refused(r"x\.json must be dict, got \[\]\.", check_kinds, [], {"b": str}, "x.json")
    refused(r"got '" + "y" * 59 + r"\.\.\.\.", check_kinds, {"b": "y" * 5000}, {"b": int}, "x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[1]", "must be dict"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not"),
        ("[" * 100_000, "nested too deep|not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        ('"' + "x" * 2000 + '"', "has 2,002 bytes; at most 1,000 are read"),
    ],
)
def test_damaged_json_is_refused(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    refused(words, read_json, path, dict, None, 1000 if len(text) < 3000 else 10**6)


def test_a_log_is_read_up_to_a_line_that_was_cut_off(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert [row["a"] for row in read_json_lines(tmp_path / "a.jsonl")] == [1, 2]
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n5\n')
    refused("a.jsonl, line 2 must be dict, got 5", read_json_lines, tmp_path / "a.jsonl")
    assert read_json_lines(tmp_path / "absent") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("read", [open_regular, read_json, read_csv, read_npz, read_header])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        refused("is not a regular file", read, tmp_path / name)


def test_a_table_is_complete_or_refused(tmp_path):
    path = tmp_path / "a.csv"
    for text, words in (
        ("a,b\n1\n", "line 2: 1 cells where the header has 2"),
        ("a\n1\n", "lacks the column b"),
        ("", "lacks the column b"),
        ("b,b\n", "two columns of one name"),
        (f"b\n{'x' * 200_000}\n", "line 2: not valid CSV"),
    ):
        path.write_text(text)
        refused(words, read_records, path, ("b",))
    path.write_text("\ufeffa,b\n1,2\n\n3,4\n")
    assert read_records(path, ("a",)) == [(2, {"a": "1", "b": "2"}), (4, {"a": "3", "b": "4"})]


def header(shape, descr="|u1"):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text", "cannot be read"),
        (header((2**61, 28)), "not what its 0 bytes hold"),
        (header((3,)) + b"12", r"a is uint8 \(3,\), which is not what its 2 bytes hold"),
        (header((2,), "|O") + b"cos\nsystem\n", "a is object"),
        (b"\x93NUMPY\x01\x00\xff\x26" + b"(" * 9983, "cannot be read"),
        (b"\x93NUMPY\x09\x00\x10\x00", "cannot be read"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(tmp_path, content, words):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    refused(words, read_npz, tmp_path / "a.npz", ("a",))
    refused("no array b", read_npz, tmp_path / "a.npz", ("a", "b"))


def test_arrays_that_unpack_to_too_much_are_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10_000, np.uint8))
    assert len(read_npz(tmp_path / "a.npz")["a"]) == 10_000 < MOST_ARRAY_BYTES
    monkeypatch.setattr("mer_hf.utils.untrusted.MOST_ARRAY_BYTES", 10_000)
    monkeypatch.setattr("mer_hf.utils.untrusted._read_array", lambda *_: pytest.fail("it was read"))
    refused("more than 10,000 bytes of arrays", read_npz, tmp_path / "a.npz")


def test_the_header_of_weights_is_bounded_and_shards_lie_in_the_folder(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    refused("its header has 1,099,511,627,776 bytes", read_header, path)
    path.write_bytes(struct.pack("<Q", 2) + b"[]")
    refused("is not valid safetensors", read_header, path)
    index = tmp_path / "model.safetensors.index.json"
    for names, words in (
        ({"a": "../model.safetensors"}, "names the shard ../model"),
        ({"a": 5}, "weight_map must be dict"),
        (None, "weight_map must be dict"),
    ):
        index.write_text(json.dumps({"weight_map": names}))
        refused(words, weight_files, tmp_path)
