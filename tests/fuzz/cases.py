"""One malformed input, and the values that makers of inputs share."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED, EITHER, TOLD = "refused", "either", "told"
"""What is due: one line of error; that or a sound answer; or, if it answers, a warning or the true frames."""


@dataclass(frozen=True)
class Case:
    """A malformed input of a door.

    Attributes:
        door (`str`): What is broken: videos, frames, arrays, sheets, checkpoints, runs, arguments or page.
        kind (`str`): How; cases of one kind stand or fall together.
        name (`str`): The example.
        make (`Callable`): Takes the folder of seeds and an empty folder, and returns what is run: a program
            (`mer-hf`, `train.py` or `page`) and its arguments.
        due (`str`): `REFUSED`, `EITHER` or `TOLD`.
        tracked (`bool`): Whether the clip is sound, and its face is tracked once for all cases.
    """

    door: str
    kind: str
    name: str
    make: Callable[[Path, Path], list]
    due: str = REFUSED
    tracked: bool = False

    @property
    def id(self) -> str:
        return f"{self.door}/{self.kind}/{self.name}"


def chance(*seed: object) -> random.Random:
    """The same numbers for the same words, in every process."""
    return random.Random("/".join(map(str, seed)))


def flipped(data: bytes, count: int, *seed: object, first: int = 0, last: int | None = None) -> bytes:
    """Bytes of which some, between two places, are others."""
    rng, damaged = chance("flip", count, *seed), bytearray(data)
    last = min(last or len(data), len(data))
    for _ in range(count):
        damaged[rng.randrange(min(first, last - 1), last)] ^= rng.randrange(1, 256)
    return bytes(damaged)


def damages(data: bytes, few: int = 4) -> dict[str, Callable[[bytes], bytes]]:
    """Name -> a damage that any file can have."""
    cuts = {"1 byte": 1, "8 bytes": 8, "40 bytes": 40, "a quarter": 0.25, "half": 0.5, "nearly all": 0.95}
    ways = {f"cut to {name}": _cut(at) for name, at in cuts.items()}
    ways["cut by a byte"] = lambda data: data[:-1]
    ways["zeros in the middle"] = lambda data: (
        data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :]
    )
    ways["halves swapped"] = lambda data: data[len(data) // 2 :] + data[: len(data) // 2]
    ways["all inverted"] = lambda data: bytes(byte ^ 255 for byte in data)
    for count in (1, 16, 256):
        for number in range(few):
            ways[f"{count} bytes flipped, {number}"] = _flip(count, number)
    for number in range(few):
        ways[f"head flipped, {number}"] = _flip(2, number, 64)
    return ways


def _cut(at: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: at if isinstance(at, int) else int(len(data) * at)]


def _flip(count: int, number: int, last: int | None = None) -> Callable[[bytes], bytes]:
    return lambda data: flipped(data, count, number, last=last)


def fifo(path: Path) -> None:
    os.mkfifo(path)


SPECIAL: dict[str, Callable[[Path], Any]] = {
    "named pipe": fifo,
    "folder": Path.mkdir,
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "0 bytes": Path.touch,
}
"""Name -> makes something at a path that is not a file with contents."""

FOREIGN: dict[str, bytes] = {
    "text": b"this is not what its name says\n" * 40,
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 360 330\n0 0 moveto\nshowpage\n%%EOF\n",
    "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="360" height="330"><rect width="9"/></svg>',
    "HTML": b"<html><body>404 not found</body></html>",
    "playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n",
    "concat list": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    "zip": b"PK\x05\x06" + bytes(18),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(6) + b"\x03\x00" + bytes(8),
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(200),
    "wav": b"RIFF$\x08\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00" + bytes(2048),
    "pickle": b"cposix\nsystem\n(S'true'\ntR.",
    "JSON": b'{"a": [1, 2, 3]}',
    "zeros": bytes(100_000),
    "noise": chance("noise").randbytes(100_000),
}
"""Name -> contents of another kind."""

JSON_TEXTS: dict[str, bytes] = {
    "null": b"null",
    "a list": b"[]",
    "a number": b"5",
    "a text": b'"x"',
    "cut": b'{"model_type": "htn',
    "no JSON": b"model_type: htnet\n",
    "nested 5000 deep": b'{"record": ' * 5000 + b"1" + b"}" * 5000,
    "nested 100000 deep": b"[" * 100_000 + b"]" * 100_000,
    "UTF-16": '{"model_type": "htnet"}'.encode("utf-16"),
    "not UTF-8": b'{"model_type": "\xff\xfe"}',
    "a number of 10000 digits": b'{"temperature": ' + b"9" * 10_000 + b"}",
    "NUL": b'{"model_type": "htnet"}\x00',
    "noise": FOREIGN["noise"],
    "60 MB of blanks": b" " * 60_000_000,
}
"""Name -> contents of a JSON file that no reader can take for its settings."""

WRONG: dict[str, Any] = {
    "null": None,
    "text": "x",
    "list": [],
    "object": {},
    "yes": True,
    "list of text": ["x", "y"],
    "nested": json.loads("[" * 200 + "]" * 200),
}
"""Name -> a value of a type that a number does not have."""

ABSURD: dict[str, Any] = {
    "zero": 0,
    "minus one": -1,
    "4096": 4096,
    "huge": 2**40,
    "1e300": 1e300,
    "1e-320": 1e-320,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "half": 0.5,
}
"""Name -> a number that few fields can have."""


def edit_json(path: Path, change: Callable[[dict], Any]) -> None:
    """Change the object in a JSON file."""
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(settings))
