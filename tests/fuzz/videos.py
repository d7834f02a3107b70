"""Video files: damaged, cut, with tables that contradict each other, and of another kind."""

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .cases import EITHER, FOREIGN, REFUSED, SPECIAL, TOLD, Case, damages
from .seeds import CONTAINERS

FIELDS = {
    "mvhd.timescale": 12, "mvhd.duration": 16, "tkhd.track": 12, "tkhd.duration": 20, "mdhd.timescale": 12,
    "mdhd.duration": 16, "elst.count": 4, "elst.duration": 8, "elst.media": 12, "elst.rate": 16,
    "stts.count": 4, "stts.samples": 8, "stts.delta": 12, "ctts.count": 4, "ctts.samples": 8,
    "ctts.offset": 12, "stsc.count": 4, "stsc.first": 8, "stsc.samples": 12, "stsc.description": 16,
    "stsz.size": 4, "stsz.count": 8, "stsz.first": 12, "stsz.third": 20, "stco.count": 4, "stco.first": 8,
    "stss.count": 4, "stss.first": 8, "stsd.count": 4, "stsd.size": 8, "stsd.kind": 12, "hdlr.kind": 8,
}  # fmt: skip
"""Field of an mp4's tables -> its place after the header of its box; all have four bytes."""
VALUES: dict[str, Callable[[int], int]] = {
    "0": lambda old: 0,
    "1": lambda old: 1,
    "half": lambda old: old // 2,
    "double": lambda old: old * 2,
    "one less": lambda old: old - 1,
    "largest": lambda old: 2**32 - 1,
}
HARMLESS = (
    "tkhd.track",
    "ctts.count",
    "ctts.samples",
    "ctts.offset",
    "stss.count",
    "stss.first",
    "elst.rate",
)
"""Fields that move no frame's time by more than a frame, or that no reader uses."""


def edit_table(path: Path, field: str, change: Callable[[int], int]) -> None:
    """Set a field of an mp4's tables."""
    data = bytearray(path.read_bytes())
    box, _, _ = field.partition(".")
    at = data.index(box.encode(), data.index(b"moov")) + 4 + FIELDS[field]
    (old,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, change(old) % 2**32)
    path.write_bytes(data)


def predict(path: Path, seeds: Path, *more: object) -> list:
    curve = path.parent / "curve.csv"
    return ["mer-hf", "predict", path, "--model", seeds / "htnet", "--json", "--curve", curve, *more]


def _written(seeds: Path, folder: Path, name: str, data: bytes) -> list:
    path = folder / name
    path.write_bytes(data)
    return predict(path, seeds)


def _damaged(seeds: Path, folder: Path, suffix: str, damage: Callable[[bytes], bytes]) -> list:
    return _written(seeds, folder, f"clip.{suffix}", damage((seeds / f"face.{suffix}").read_bytes()))


def _edited(seeds: Path, folder: Path, field: str, change: Callable[[int], int]) -> list:
    path = folder / "clip.mp4"
    path.write_bytes((seeds / "face.mp4").read_bytes())
    edit_table(path, field, change)
    return predict(path, seeds)


def _special(seeds: Path, folder: Path, make: Callable[[Path], None], command: str) -> list:
    path = folder / "clip.mp4"
    make(path)
    model = ["--model", seeds / "htnet"]
    bulk = ["mer-hf", "predict", folder, "--out", folder.parent / f"{folder.name}.csv", *model]
    return {"predict": predict(path, seeds), "spot": ["mer-hf", "spot", path, *model], "bulk": bulk}[command]


def _named(seeds: Path, folder: Path, name: bytes) -> list:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_bytes((seeds / "face.mp4").read_bytes()[:300])
    return predict(path, seeds)


def cases() -> Iterator[Case]:
    for suffix in CONTAINERS:
        for name, damage in damages(b"", few=3).items():
            due = REFUSED if "cut to" in name and "nearly" not in name else EITHER
            yield Case(
                "videos", "damaged", f"{suffix}, {name}", partial(_damaged, suffix=suffix, damage=damage), due
            )
    for field in FIELDS:
        for name, change in VALUES.items():
            due = EITHER if field in HARMLESS else TOLD
            make = partial(_edited, field=field, change=change)
            yield Case("videos", "tables of an mp4", f"{field} = {name}", make, due)
    for kind, data in FOREIGN.items():
        for suffix in ("mp4", "avi"):
            make = partial(_written, name=f"clip.{suffix}", data=data)
            yield Case("videos", "another kind", f"{kind}.{suffix}", make)
    for kind, make in SPECIAL.items():
        for command in ("predict", "spot", "bulk"):
            due = EITHER if command == "bulk" else REFUSED
            made = partial(_special, make=make, command=command)
            yield Case("videos", "not a file", f"{kind}, {command}", made, due)
    for name in (
        b"two\nlines.mp4",
        b"\xff\xfe.mp4",
        b"--json.mp4",
        b"a" * 251 + b".mp4",
        b"%s%n.mp4",
        b"' \".mp4",
    ):
        yield Case("videos", "odd names", repr(name)[:30], partial(_named, name=name))
