"""Folders of frames of which one is broken, large, of another kind or no file."""

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from .cases import EITHER, FOREIGN, REFUSED, SPECIAL, Case, damages
from .seeds import picture
from .videos import predict

OTHERS = (
    "GIF",
    "TIFF",
    "WEBP",
    "ICO",
    "PPM",
    "TGA",
    "PCX",
    "DDS",
    "SGI",
    "IM",
    "MSP",
    "XBM",
    "JPEG2000",
    "PDF",
    "EPS",
    "ICNS",
)
"""Formats of Pillow that no frame may have, whatever its name says."""
SIZES = (
    (0, 10),
    (13_000, 13_000),
    (30_000, 30_000),
    (65_535, 65_535),
    (2**31 - 1, 1),
    (2**31 - 1, 2**31 - 1),
)


LARGE = b"a\0\0" + zlib.compress(bytes(30_000_000), 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG that says how large it is, with so many rows of zeros behind."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    packed = zlib.compressobj(1)
    data = chunk(
        b"IDAT", b"".join(packed.compress(bytes(3 * width + 1)) for _ in range(rows)) + packed.flush()
    )
    return b"\x89PNG\r\n\x1a\n" + head + extra + data + chunk(b"IEND", b"")


def bmp(width: int, height: int, bits: int = 24) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 300, 0, 0, 54) + head + bytes(300)


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(picture(".jpg"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def in_format(kind: str) -> bytes:
    file, mode = BytesIO(), {"MSP": "1", "XBM": "1"}.get(kind, "RGB")
    Image.new(mode, (360, 330)).save(file, kind)
    return file.getvalue()


def in_mode(mode: str, kind: str = "PNG", size: tuple[int, int] = (360, 330)) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


PICTURES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "1 x 1": ("img3.png", lambda: in_mode("RGB", size=(1, 1)), REFUSED),
    "another size": ("img3.png", lambda: in_mode("RGB", size=(330, 360)), REFUSED),
    "16 bits": ("img3.png", lambda: in_mode("I;16"), REFUSED),
    "CMYK": ("img3.jpg", lambda: in_mode("CMYK", "JPEG"), EITHER),
    "palette": ("img3.png", lambda: in_mode("P"), EITHER),
    "a depth that is none": ("img3.png", lambda: png(360, 330, depth=3), REFUSED),
    "a colour that is none": ("img3.png", lambda: png(360, 330, colour=5), REFUSED),
    "a text of 30 MB": ("img3.png", lambda: png(360, 330, extra=chunk(b"zTXt", LARGE)), REFUSED),
    "a profile of 30 MB": ("img3.png", lambda: png(360, 330, extra=chunk(b"iCCP", LARGE)), REFUSED),
    "13000 rows of zeros": ("img3.png", lambda: png(13_000, 13_000, rows=13_000), REFUSED),
    "the same number twice": ("img03.png", lambda: in_mode("RGB"), REFUSED),
    "no number": ("picture.png", lambda: in_mode("RGB"), REFUSED),
    "a long number": (f"img{'9' * 200}.png", lambda: in_mode("RGB"), EITHER),
    "a number of other digits": ("img٣.png", lambda: in_mode("RGB"), REFUSED),
    "a text among them": ("notes.txt", lambda: b"hello", REFUSED),
}
"""Name -> file, contents and what is due."""


def folder_of(seeds: Path, folder: Path) -> Path:
    """A copy of the seeds' frames."""
    frames = folder / "frames"
    frames.mkdir()
    for path in (seeds / "frames").iterdir():
        (frames / path.name).write_bytes(path.read_bytes())
    return frames


def _with(seeds: Path, folder: Path, name: str, data: Callable[[], bytes]) -> list:
    frames = folder_of(seeds, folder)
    (frames / name).write_bytes(data())
    return predict(frames, seeds, "--fps", 30)


def _damaged(seeds: Path, folder: Path, damage: Callable[[bytes], bytes], suffix: str) -> list:
    with Image.open(seeds / "frames" / "img3.png") as image:
        file = BytesIO()
        image.save(file, suffix)
    frames = folder_of(seeds, folder)
    (frames / "img3.png").unlink()
    (frames / f"img3.{suffix}").write_bytes(damage(file.getvalue()))
    return predict(frames, seeds, "--fps", 30)


def _only(seeds: Path, folder: Path, names: tuple[str, ...]) -> list:
    frames = folder_of(seeds, folder)
    for path in list(frames.iterdir()):
        if path.name not in names:
            path.unlink()
    return predict(frames, seeds, "--fps", 30)


def _special(seeds: Path, folder: Path, make: Callable[[Path], None], bulk: bool) -> list:
    frames = folder_of(seeds, folder)
    (frames / "img3.png").unlink()
    make(frames / "img3.png")
    if bulk:
        return [
            "mer-hf",
            "predict",
            frames,
            "--out",
            folder / "all.csv",
            "--model",
            seeds / "htnet",
            "--fps",
            30,
        ]
    return predict(frames, seeds, "--fps", 30)


def cases() -> Iterator[Case]:
    for suffix in ("png", "jpeg", "bmp"):
        for name, damage in damages(b"", few=2).items():
            due = REFUSED if "cut to" in name and "nearly" not in name and suffix == "png" else EITHER
            yield Case(
                "frames", "damaged", f"{suffix}, {name}", partial(_damaged, damage=damage, suffix=suffix), due
            )
    for kind in OTHERS:
        make = partial(_with, name="img3.png", data=partial(in_format, kind))
        yield Case("frames", "another format", kind, make)
    for kind, data in FOREIGN.items():
        for suffix in ("png", "jpg"):
            make = partial(_with, name=f"img9.{suffix}", data=partial(bytes, data))
            yield Case("frames", "another kind", f"{kind}.{suffix}", make)
    for width, height in SIZES:
        for suffix, write in (("png", png), ("bmp", bmp), ("jpg", jpeg)):
            if suffix != "jpg" or max(width, height) < 2**16:
                data = write(width, height)
                make = partial(_with, name=f"img9.{suffix}", data=partial(bytes, data))
                yield Case("frames", "a large header", f"{width} x {height}.{suffix}", make)
    for name, (file, data, due) in PICTURES.items():
        yield Case("frames", "odd pictures", name, partial(_with, name=file, data=data), due)
    for kind, make in SPECIAL.items():
        for bulk in (False, True):
            due = EITHER if bulk else REFUSED
            made = partial(_special, make=make, bulk=bulk)
            yield Case("frames", "not a file", f"{kind}{', bulk' * bulk}", made, due)
    for names in ((), ("img0.png",)):
        due = REFUSED if not names else EITHER
        yield Case("frames", "few", f"{len(names)} of them", partial(_only, names=names), due)
