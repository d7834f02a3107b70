"""Flow maps in an .npz file or in a folder of pictures with a list."""

import io
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .cases import EITHER, FOREIGN, REFUSED, SPECIAL, Case, damages
from .frames import in_format, png
from .seeds import picture

COUNT = 12
LIST = "file,label,subject,dataset\n" + "".join(f"m{i}.png,{i % 3},s{i // 4},a\n" for i in range(COUNT))


def sound() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "flow": rng.integers(0, 256, (COUNT, 28, 28, 3), dtype=np.uint8),
        "label": np.arange(COUNT) % 3,
        "subject": np.array([f"s{i // 4}" for i in range(COUNT)]),
        "dataset": np.array(["a"] * COUNT),
    }


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text: str, version: int = 1, length: int | None = None) -> bytes:
    """An npy file that holds a header and 64 bytes."""
    data = text.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(data) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + data + bytes(64)


SHAPE = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}}}"
MEMBERS: dict[str, bytes] = {
    **FOREIGN,
    "empty": b"",
    "2 EiB": header(SHAPE.format("(2147483648, 1073741824)")),
    "a shape of 700 GB": header(SHAPE.format("(300000000, 28, 28, 3)")),
    "a shape below zero": header(SHAPE.format("(-12, 28, 28, 3)")),
    "a shape of text": header(SHAPE.format("('x',)")),
    "a shape of 2000 axes": header(SHAPE.format("(" + "1," * 2000 + ")")),
    "a shape of 1e30": header(SHAPE.format("(10**30,)")),
    "code as header": header("__import__('os').system('true')"),
    "a header nested deep": header("(" * 9000 + ")" * 9000),
    "no header": header("{}"),
    "an unknown type": header("{'descr': '|q7', 'fortran_order': False, 'shape': (12,)}"),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (12,)}"),
    "a header of 4 GiB": header("{}", version=2, length=2**32 - 1),
    "version 9": header("{}", version=9),
}
"""Name -> contents of a member that is not an array of maps."""
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "floats": lambda array: np.linspace(0, 1, array.size).reshape(array.shape),
    "NaN": lambda array: np.full(array.shape, np.nan),
    "complex": lambda array: np.ones(array.shape, complex),
    "yes and no": lambda array: np.zeros(array.shape, bool),
    "bytes": lambda array: np.zeros(array.shape, "S4"),
    "dates": lambda array: np.zeros(array.shape, "M8[s]"),
    "objects": lambda array: np.full(array.shape, None, object),
    "records": lambda array: np.zeros(array.shape, [("a", "i4"), ("b", "f4")]),
    "void": lambda array: np.zeros(array.shape, "V5"),
    "one short": lambda array: array[:-1],
    "none": lambda array: array[:0],
    "a number": lambda array: array.ravel()[0],
    "another axis": lambda array: array[None],
}


def _evaluate(path: Path, seeds: Path) -> list:
    return ["mer-hf", "evaluate", "--flows", path, "--model", seeds / "htnet", "--json"]


def write_members(path: Path, members: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def _member(seeds: Path, folder: Path, name: str, data: bytes) -> list:
    write_members(folder / "maps.npz", {key: npy(array) for key, array in sound().items()} | {name: data})
    return _evaluate(folder / "maps.npz", seeds)


def _array(seeds: Path, folder: Path, name: str, change: Callable) -> list:
    return _member(seeds, folder, name, npy(np.asarray(change(sound()[name]))))


def _missing(seeds: Path, folder: Path, name: str) -> list:
    np.savez(folder / "maps.npz", **{key: array for key, array in sound().items() if key != name})
    return _evaluate(folder / "maps.npz", seeds)


def _damaged(seeds: Path, folder: Path, damage: Callable[[bytes], bytes]) -> list:
    np.savez_compressed(folder / "maps.npz", **sound())
    path = folder / "maps.npz"
    path.write_bytes(damage(path.read_bytes()))
    return _evaluate(path, seeds)


def _patched(seeds: Path, folder: Path, signature: bytes, at: int, value: bytes) -> list:
    """Set bytes in every header of the archive that has a signature."""
    path = folder / "maps.npz"
    np.savez(path, **sound())
    data, place = bytearray(path.read_bytes()), -1
    while (place := data.find(signature, place + 1)) >= 0:
        data[place + at : place + at + len(value)] = value
    path.write_bytes(data)
    return _evaluate(path, seeds)


def _bomb(seeds: Path, folder: Path, count: int) -> list:
    """Maps of zeros that are small when packed."""
    members = {key: npy(array) for key, array in sound().items() if key != "flow"}
    path = folder / "maps.npz"
    write_members(path, members, compression=zipfile.ZIP_DEFLATED)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("flow.npy", "w", force_zip64=True) as file,
    ):
        file.write(header(SHAPE.format(f"({count}, 28, 28, 3)"))[:-64])
        for _ in range(count // 1000):
            file.write(bytes(1000 * 28 * 28 * 3))
    return _evaluate(path, seeds)


def _label(seeds: Path, folder: Path, value: int) -> list:
    return _array(seeds, folder, "label", lambda array: np.full(array.shape, value))


def _special(seeds: Path, folder: Path, make: Callable[[Path], Any], name: str) -> list:
    make(folder / name)
    return _evaluate(folder / "maps.npz" if name == "maps.npz" else folder, seeds)


PATCHES = {
    "encrypted": (b"PK\x01\x02", 8, b"\x01\x00"),
    "method 99": (b"PK\x01\x02", 10, b"\x63\x00"),
    "bzip2 by its name": (b"PK\x01\x02", 10, b"\x0c\x00"),
    "another checksum": (b"PK\x01\x02", 16, b"abcd"),
    "4 GiB when unpacked": (b"PK\x01\x02", 24, b"\xff\xff\xff\xff"),
    "4 GiB packed": (b"PK\x01\x02", 20, b"\xff\xff\xff\xff"),
    "elsewhere": (b"PK\x01\x02", 42, b"\xff\xff\xff\x7f"),
    "many members": (b"PK\x05\x06", 8, b"\xff\xff\xff\xff"),
    "a folder elsewhere": (b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"),
    "another local header": (b"PK\x03\x04", 0, b"PK\x07\x08"),
}
READABLE = ("4 GiB when unpacked", "4 GiB packed", "many members")
"""Lies that no reader needs: every member has its checksum."""


def _listed(seeds: Path, folder: Path, text: bytes) -> list:
    for number in range(COUNT):
        (folder / f"m{number}.png").write_bytes(picture(".png", 28))
    (folder / "list.csv").write_bytes(text)
    return _evaluate(folder, seeds)


def _pictured(seeds: Path, folder: Path, make: Callable[[Path], Any]) -> list:
    arguments = _listed(seeds, folder, LIST.encode())
    (folder / "m3.png").unlink()
    make(folder / "m3.png")
    return arguments


def _linked(seeds: Path, folder: Path, target: str) -> list:
    shutil.copy(seeds / "frames" / "img0.png", folder.parent / "outside.png")
    return _listed(seeds, folder, LIST.replace("m3.png", target).encode())


LISTS: dict[str, bytes] = {
    "empty": b"",
    "a header alone": b"file,label,subject,dataset\n",
    "no header": b"".join(line + b"\n" for line in LIST.encode().splitlines()[1:]),
    "a short line": LIST.replace("m3.png,0,s0,a", "m3.png,0").encode(),
    "a long line": LIST.replace("m3.png,0,s0,a", "m3.png,0,s0,a,b,c").encode(),
    "a line of one cell": LIST.replace("m3.png,0,s0,a", "m3.png").encode(),
    "a label that is text": LIST.replace("m3.png,0", "m3.png,x").encode(),
    "a label of 5000 digits": LIST.replace("m3.png,0", "m3.png," + "9" * 5000).encode(),
    "a label of 20 digits": LIST.replace("m3.png,0", "m3.png," + "9" * 20).encode(),
    "a label of other digits": LIST.replace("m3.png,0", "m3.png,²").encode(),
    "a label below zero": LIST.replace("m3.png,0", "m3.png,-1").encode(),
    "no label": LIST.replace("m3.png,0", "m3.png,").encode(),
    "no file": LIST.replace("m3.png,0", ",0").encode(),
    "UTF-16": LIST.encode("utf-16"),
    "not UTF-8": LIST.replace("s0", "é").encode("latin-1"),
    "NUL": LIST.replace("s0", "s\0").encode(),
    "a cell of 200000 signs": LIST.replace("s0", "s" * 200_000).encode(),
    "a quote that does not end": LIST.replace("m3.png", '"m3.png').encode(),
    "missing file": LIST.replace("m3.png", "m99.png").encode(),
    "a folder": LIST.replace("m3.png", ".").encode(),
    "a name with NUL": LIST.replace("m3.png", "m\x003.png").encode(),
    "noise": FOREIGN["noise"],
}
PICTURES: dict[str, Callable[[], bytes]] = {
    **{kind: partial(bytes, data) for kind, data in FOREIGN.items()},
    "another size": lambda: picture(".png", 30),
    "EPS in colours": lambda: in_format("EPS"),
    "GIF": lambda: in_format("GIF"),
    "13000 x 13000": lambda: png(13_000, 13_000, rows=13_000),
    "65535 x 65535": lambda: png(65_535, 65_535),
}


def cases() -> Iterator[Case]:
    for name in sound():
        yield Case("arrays", "missing", name, partial(_missing, name=name))
        for kind, change in ARRAYS.items():
            yield Case(
                "arrays",
                "another type or shape",
                f"{name}: {kind}",
                partial(_array, name=name, change=change),
            )
    for kind, data in MEMBERS.items():
        name = ("flow", "label", "subject", "dataset")[len(kind) % 4]
        yield Case(
            "arrays", "a member of another kind", f"{name}: {kind}", partial(_member, name=name, data=data)
        )
    for kind in ("text", "2 EiB", "objects", "code as header"):
        yield Case(
            "arrays",
            "a member of another kind",
            f"flow: {kind}",
            partial(_member, name="flow", data=MEMBERS[kind]),
        )
    for value in (-1, 3, 10**6, 2**62):
        yield Case("arrays", "labels", str(value), partial(_label, value=value))
    for kind, (signature, at, value) in PATCHES.items():
        make = partial(_patched, signature=signature, at=at, value=value)
        due = EITHER if kind in READABLE else REFUSED
        yield Case("arrays", "a damaged archive", kind, make, due)
    for count in (500_000, 700_000):
        yield Case("arrays", "small when packed", f"{count} maps", partial(_bomb, count=count))
    for kind, damage in damages(b"", few=3).items():
        due = REFUSED if "cut to" in kind else EITHER
        yield Case("arrays", "damaged", kind, partial(_damaged, damage=damage), due)
    for kind, make in SPECIAL.items():
        for name in ("maps.npz", "list.csv"):
            yield Case("arrays", "not a file", f"{name}: {kind}", partial(_special, make=make, name=name))
        yield Case("arrays", "not a file", f"a picture: {kind}", partial(_pictured, make=make))
    for kind, text in LISTS.items():
        due = EITHER if kind == "NUL" else REFUSED
        yield Case("arrays", "list of pictures", kind, partial(_listed, text=text), due)
    for kind, data in PICTURES.items():
        make = partial(_pictured, make=lambda path, data=data: path.write_bytes(data()))
        yield Case("arrays", "pictures of the list", kind, make)
    for target in ("../outside.png", "/etc/hostname", "../../../../../../etc/hostname"):
        yield Case("arrays", "pictures of the list", target, partial(_linked, target=target))
