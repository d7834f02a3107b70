"""Checkpoints: every field of their settings with values of another type or size, and damaged weights."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .cases import (
    ABSURD,
    EITHER,
    FOREIGN,
    JSON_TEXTS,
    REFUSED,
    SPECIAL,
    WRONG,
    Case,
    chance,
    damages,
    edit_json,
)
from .seeds import NETWORKS
from .videos import predict

FILES = ("config.json", "preprocessor_config.json", "calibration.json")
WEIGHTS = "model.safetensors"
OF_THE_LIBRARY = (
    "architectures", "auto_map", "dtype", "transformers_version", "problem_type", "image_processor_type",
    "video_processor_type", "processor_class", "record", "is_encoder_decoder", "return_dict",
    "output_hidden_states", "chunk_size_feed_forward", "output_attentions", "label2id",
)  # fmt: skip
"""Fields that this package does not read: any value may be ignored."""


def copied(seeds: Path, folder: Path, key: str = "htnet") -> Path:
    return Path(shutil.copytree(seeds / key, folder / "checkpoint"))


def asked(seeds: Path, checkpoint: Path) -> list:
    arguments = predict(seeds / "face.mp4", seeds)
    arguments[arguments.index("--model") + 1] = checkpoint
    return [*arguments[:-2], "--onset", 1, "--apex", 5]


def _field(seeds: Path, folder: Path, key: str, file: str, name: str, value: Any) -> list:
    checkpoint = copied(seeds, folder, key)
    *path, last = name.split(".")

    def change(settings: dict) -> None:
        for step in path:
            settings = settings[step]
        settings[last] = value

    edit_json(checkpoint / file, change)
    return asked(seeds, checkpoint)


def _text(seeds: Path, folder: Path, file: str, data: bytes) -> list:
    checkpoint = copied(seeds, folder)
    (checkpoint / file).write_bytes(data)
    return asked(seeds, checkpoint)


def _special(seeds: Path, folder: Path, file: str, make: Callable[[Path], Any]) -> list:
    checkpoint = copied(seeds, folder)
    (checkpoint / file).unlink()
    make(checkpoint / file)
    return asked(seeds, checkpoint)


def _settings(key: str) -> dict[str, dict[str, Any]]:
    """The settings of a seed, without its files: they are made later."""
    from mer_hf.loading import bundled
    from mer_hf.registry import ARCHITECTURES
    from tests.models.tiny import TINY, tiny_processor

    config = ARCHITECTURES[key].config_class(**TINY[key].config).to_diff_dict()
    own = {**ARCHITECTURES[key].config_class().to_dict(), **config}
    kept = ("id2label", "label2id", "model_type", *TINY[key].config)
    bundle = json.loads((bundled(f"{key}-synthetic") / "config.json").read_text())
    calibration = json.loads((bundled(f"{key}-synthetic") / "calibration.json").read_text())
    config = {name: own[name] for name in {*bundle, *kept} if name in own}
    settings = (config, tiny_processor(key).to_dict(), calibration)
    return {
        file: json.loads(json.dumps(each, default=str)) for file, each in zip(FILES, settings, strict=True)
    }


def _own_type(old: Any, new: Any) -> bool:
    """Whether a value could stand for another one."""
    kinds = {bool: "b", int: "n", float: "n", str: "s", list: "l", tuple: "l", dict: "d", type(None): None}
    return old is None or kinds.get(type(old)) == kinds.get(type(new))


def _may_be_null(key: str, file: str, name: str) -> bool:
    """Whether the class itself says that a field may be absent."""
    from mer_hf.registry import ARCHITECTURES
    from mer_hf.utils.settings import _parameters
    from mer_hf.utils.untrusted import fits

    made = dict(
        zip(FILES, (ARCHITECTURES[key].config_class, ARCHITECTURES[key].processor_class), strict=False)
    )
    taken = _parameters(made[file]) if file in made else {}
    return name in taken and fits(None, taken[name][0])


def _names(settings: dict[str, Any]) -> list[str]:
    """Names of fields, and of the fields in them: `face_geometry.size`."""
    inner = [
        f"{name}.{part}"
        for name, value in settings.items()
        if isinstance(value, dict) and name != "record"
        for part in value
    ]
    return sorted([*settings, *inner])


def _fields() -> Iterator[Case]:
    """Two values for every field of every network, others for each."""
    for key in NETWORKS:
        for file, settings in _settings(key).items():
            for name in _names(settings) if file != "calibration.json" or key == "htnet" else ():
                head, _, part = name.partition(".")
                old, rng = settings[head][part] if part else settings[head], chance("field", key, file, name)
                for kind, values in (("wrong types", WRONG), ("absurd numbers", ABSURD)):
                    label, value = rng.choice(list(values.items()))
                    make = partial(_field, key=key, file=file, name=name, value=value)
                    due = (
                        EITHER
                        if head in OF_THE_LIBRARY
                        or (_own_type(old, value) and label not in ("NaN", "infinite"))
                        or (value is None and _may_be_null(key, file, name))
                        else REFUSED
                    )
                    yield Case("checkpoints", f"{file}: {kind}", f"{key}, {name} = {label}", make, due, True)


# --- weights ------------------------------------------------------------------------------------------------


def parts(data: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(head: Any, body: bytes) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def _tensor(head: dict, at: int) -> dict:
    names = [name for name in head if name != "__metadata__"]
    return head[names[at % len(names)]]


def _number(value: float, at: int) -> Callable[[dict, bytes], bytes]:
    def change(head: dict, body: bytes) -> bytes:
        floats = {name: each for name, each in head.items() if each.get("dtype", "").startswith("F")}
        first, last = _tensor(floats, at)["data_offsets"]
        changed = bytearray(body)
        struct.pack_into("<f", changed, first + (last - first) // 8 * 4, value)
        return joined(head, bytes(changed))

    return change


def _head(change: Callable[[dict, dict], Any]) -> Callable[[dict, bytes], bytes]:
    def changed(head: dict, body: bytes) -> bytes:
        change(head, _tensor(head, 3))
        return joined(head, body)

    return changed


def _renamed(head: dict, tensor: dict) -> None:
    name = next(name for name in head if head[name] is tensor)
    head[f"{name}2"] = head.pop(name)


HEADS: dict[str, Callable[[dict, bytes], bytes]] = {
    **{
        f"{value} in tensor {at}": _number(value, at)
        for value in (float("nan"), float("inf"), -float("inf"))
        for at in (0, 7, 20)
    },
    "another name": _head(_renamed),
    "a tensor more": _head(lambda head, tensor: head.update(more=dict(tensor))),
    "a tensor less": _head(
        lambda head, tensor: head.pop(next(name for name in head if head[name] is tensor))
    ),
    "another shape": _head(lambda head, tensor: tensor.update(shape=[1, *tensor["shape"]])),
    "a shape of 2 EiB": _head(lambda head, tensor: tensor.update(shape=[2**31, 2**30])),
    "a shape below zero": _head(lambda head, tensor: tensor.update(shape=[-1])),
    "a shape of text": _head(lambda head, tensor: tensor.update(shape="x")),
    "an unknown type": _head(lambda head, tensor: tensor.update(dtype="F3")),
    "a type of whole numbers": _head(lambda head, tensor: tensor.update(dtype="I32")),
    "a type twice as wide": _head(lambda head, tensor: tensor.update(dtype="F64")),
    "behind the end": _head(lambda head, tensor: tensor.update(data_offsets=[2**40, 2**40 + 4])),
    "backwards": _head(lambda head, tensor: tensor.update(data_offsets=tensor["data_offsets"][::-1])),
    "where another is": _head(
        lambda head, tensor: tensor.update(
            data_offsets=[0, tensor["data_offsets"][1] - tensor["data_offsets"][0]]
        )
    ),
    "metadata that is a list": _head(lambda head, tensor: head.update(__metadata__=[])),
    "no tensors": lambda head, body: joined({}, b""),
    "a list": lambda head, body: joined([], body),
    "no JSON": lambda head, body: joined(b"{'a'", body),
    "nested deep": lambda head, body: joined(b"[" * 100_000, body),
    "blanks of 50 MB": lambda head, body: joined(json.dumps(head).encode() + b" " * 50_000_000, body),
    "a length of 8 EiB": lambda head, body: struct.pack("<Q", 2**63 - 1) + json.dumps(head).encode() + body,
    "a length of 0": lambda head, body: bytes(8) + body,
    "more behind": lambda head, body: joined(head, body + b"more"),
    "16 bits": lambda head, body: joined(
        {name: {**each, "dtype": "F16"} if "shape" in each else each for name, each in head.items()}, body
    ),
}


def _weights(seeds: Path, folder: Path, change: Callable[[dict, bytes], bytes], key: str = "htnet") -> list:
    checkpoint = copied(seeds, folder, key)
    path = checkpoint / WEIGHTS
    path.write_bytes(change(*parts(path.read_bytes())))
    return asked(seeds, checkpoint)


def _damaged(seeds: Path, folder: Path, damage: Callable[[bytes], bytes]) -> list:
    checkpoint = copied(seeds, folder)
    path = checkpoint / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    return asked(seeds, checkpoint)


INDEXES: dict[str, Any] = {
    "another folder": {"weight_map": {"a": "../../etc/passwd"}},
    "a file that is missing": {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
    "itself": {"weight_map": {"a": "model.safetensors.index.json"}},
    "nothing": {},
    "a number": {"weight_map": 5},
    "a list": {"weight_map": []},
    "numbers": {"weight_map": {"a": 5}},
    "an absolute path": {"weight_map": {"a": "/dev/zero"}},
}


def _index(seeds: Path, folder: Path, index: Any) -> list:
    checkpoint = copied(seeds, folder)
    (checkpoint / WEIGHTS).unlink()
    (checkpoint / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return asked(seeds, checkpoint)


def _without(seeds: Path, folder: Path, file: str, instead: str = "") -> list:
    checkpoint = copied(seeds, folder)
    (checkpoint / file).unlink()
    if instead:
        (checkpoint / instead).write_bytes(FOREIGN["pickle"])
    return asked(seeds, checkpoint)


CLASSES: dict[str, Any] = {
    "one name twice": {"id2label": {"0": "x", "1": "x", "2": "y"}, "label2id": {"x": 0, "y": 2}},
    "other numbers": {"id2label": {"0": "a", "5": "b", "9": "c"}},
    "numbers that are text": {"id2label": {"a": "a", "b": "b", "c": "c"}},
    "names that are numbers": {"id2label": {"0": 1, "1": 2, "2": 3}},
    "names that are null": {"id2label": {"0": None, "1": None, "2": None}},
    "one class": {"id2label": {"0": "a"}},
    "no class": {"id2label": {}},
    "more classes": {"id2label": {str(i): f"c{i}" for i in range(9)}},
    "a million classes": {"num_labels": 10**6},
    "another network": {"model_type": "mmnet"},
    "a network of the library": {"model_type": "vit"},
    "no network": {"model_type": None},
    "code elsewhere": {"model_type": "x", "auto_map": {"AutoConfig": "other/repository--code.Config"}},
}


def _classes(seeds: Path, folder: Path, change: dict) -> list:
    checkpoint = copied(seeds, folder)
    edit_json(checkpoint / "config.json", lambda settings: settings.update(change))
    return asked(seeds, checkpoint)


def _convert(seeds: Path, folder: Path, data: bytes, key: str, more: list) -> list:
    (folder / "original.pth").write_bytes(data)
    return ["mer-hf", "convert", key, folder / "original.pth", folder / "out", *more]


def cases() -> Iterator[Case]:
    yield from _fields()
    for file in FILES:
        for kind, data in JSON_TEXTS.items():
            yield Case(
                "checkpoints",
                "settings that are none",
                f"{file}: {kind}",
                partial(_text, file=file, data=data),
                REFUSED,
                True,
            )
    for file in (*FILES, WEIGHTS):
        for kind, make in SPECIAL.items():
            due = EITHER if (file, kind) == ("calibration.json", "link to nowhere") else REFUSED
            yield Case(
                "checkpoints",
                "not a file",
                f"{file}: {kind}",
                partial(_special, file=file, make=make),
                due,
                True,
            )
        due = EITHER if file == "calibration.json" else REFUSED
        yield Case("checkpoints", "missing files", file, partial(_without, file=file), due, True)
    for kind, change in HEADS.items():
        due = EITHER if kind == "blanks of 50 MB" else REFUSED
        for key in ("htnet", "facesleuth") if " in tensor " in kind else ("htnet",):
            make = partial(_weights, change=change, key=key)
            yield Case("checkpoints", "weights", f"{key}: {kind}", make, due, True)
    for kind, damage in damages(b"", few=2).items():
        due = REFUSED if "cut" in kind or "head" in kind else EITHER
        yield Case("checkpoints", "damaged weights", kind, partial(_damaged, damage=damage), due, True)
    for kind, data in FOREIGN.items():
        make = partial(_text, file=WEIGHTS, data=data)
        yield Case("checkpoints", "weights of another kind", kind, make, REFUSED, True)
        make = partial(_convert, data=data, key=NETWORKS[len(kind) % 4], more=[])
        yield Case("checkpoints", "originals of another kind", kind, make)
    for kind, index in INDEXES.items():
        yield Case("checkpoints", "index", kind, partial(_index, index=index), REFUSED, True)
    for name in ("pytorch_model.bin", "model.pt", "weights.ckpt"):
        make = partial(_without, file=WEIGHTS, instead=name)
        yield Case("checkpoints", "pickles", name, make, REFUSED, True)
    for kind, change in CLASSES.items():
        yield Case("checkpoints", "classes", kind, partial(_classes, change=change), REFUSED, True)
    for text in (
        "depths",
        "depths=",
        "depths=[1",
        f"depths={'[' * 5000}",
        "depths=NaN",
        "=3",
        "depths=1e999",
    ):
        make = partial(_convert, data=b"", key="htnet", more=["--config", text])
        yield Case("checkpoints", "options of convert", text[:20], make)
