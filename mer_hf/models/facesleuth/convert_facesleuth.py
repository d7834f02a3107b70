"""Convert a state dict of the original FaceSleuth code to a folder of this package.

    mer-hf convert facesleuth MODEL.pth OUT_DIR --config attention_type='"coordinate"'

Not copied to the Hub: `AutoModelForVideoClassification.from_pretrained` reads the folder it writes.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from .. import convert as common
from .configuration_facesleuth import REDUCTIONS, FaceSleuthConfig
from .image_processing_facesleuth import FaceSleuthImageProcessor
from .modeling_facesleuth import FaceSleuthForVideoClassification

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_AFFINE = r"(weight|bias)"
_SWIN, _BLOCK = r"swin_pos_224\.", r"swin_pos_224\.layers\.(\d+)\.blocks\.(\d+)\."
_MOTION, _POSITION, _HEAD = "facesleuth.motion_branch.", "facesleuth.position_branch.", "facesleuth.head."
_FUSED = "qkv"  # queries, keys and values in one layer, which are three of ours


def _convolution(theirs: tuple[str, str], ours: str, parts: str = "weight") -> list[tuple[str, str]]:
    """Return the names of a convolution and its batch norm, which the original keeps side by side."""
    return [
        (rf"{theirs[0]}\.({parts})", rf"{ours}.convolution.\1"),
        (rf"{theirs[1]}\.{_NORM}", rf"{ours}.normalization.\1"),
    ]


def _stage(number: int, plain: bool) -> list[tuple[str, str]]:
    """Return the names of one stage; the original counts from 1."""
    theirs, ours = rf"main_branch\.layer{number}\.0\.", f"{_MOTION}stages.{number - 1}."
    shortcut = _convolution((theirs + r"downsample\.0", theirs + r"downsample\.1"), ours + "shortcut")
    if plain:  # conv1 is the residual convolution here, and the bottleneck of the gate elsewhere
        return [
            *_convolution((theirs + "conv1", theirs + "bn1"), ours + "convolution1"),
            *_convolution((theirs + "conv2", theirs + "bn2"), ours + "convolution2"),
            *_convolution((theirs + r"attn\.0", theirs + r"attn\.1"), ours + "gate.convolution"),
            *shortcut,
        ]
    return [
        *_convolution((theirs + r"preprocess\.0", theirs + r"preprocess\.1"), ours + "convolution1"),
        *_convolution((theirs + r"preprocess\.3", theirs + r"preprocess\.4"), ours + "convolution2"),
        *_convolution((theirs + "conv1", theirs + "bn1"), ours + "gate.squeeze", "weight|bias"),
        (rf"{theirs}conv_h\.{_AFFINE}", ours + r"gate.excite.0.\1"),
        (rf"{theirs}conv_w\.{_AFFINE}", ours + r"gate.excite.1.\1"),
        (rf"{theirs}pool\.vec", ours + "gate.direction"),
        (rf"{theirs}squeeze\.weight", ours + "gate.squeeze.weight"),
        (rf"{theirs}excitate\.weight", ours + "gate.excite.weight"),
        *shortcut,
    ]


def _names(plain: bool) -> list[tuple[str, str]]:
    """Return all names; `plain` for the version with plain CA."""
    ours, bias = _POSITION + r"encoder.layers.\1.blocks.\2.", "relative_position_bias"
    patches, downsample = _POSITION + "embeddings.patch_embeddings.", _SWIN + r"layers\.(\d+)\.downsample\."
    return [
        *_convolution((r"conv_act\.0", r"conv_act\.1"), _MOTION + "stem1"),
        (r"main_branch\.conv1\.weight", _MOTION + "stem2.weight"),
        (rf"main_branch\.bn1\.{_NORM}", _MOTION + r"norm2.\1"),
        *[names for number in range(1, 5) for names in _stage(number, plain)],
        (r"main_branch\.conv2\.weight", _MOTION + "projections.0.weight"),
        (r"main_branch\.conv3\.weight", _MOTION + "projections.1.weight"),
        (rf"main_branch\.(fc[12])\.{_AFFINE}", _HEAD + r"\1.\2"),
        (rf"main_branch\.bn2\.{_NORM}", _HEAD + r"norm1.\1"),
        (rf"main_branch\.bn3\.{_NORM}", _HEAD + r"norm2.\1"),
        (rf"main_branch\.fc3\.{_AFFINE}", r"classifier.\1"),
        (rf"{_SWIN}patch_embed\.proj\.{_AFFINE}", patches + r"projection.\1"),
        (rf"{_SWIN}patch_embed\.norm\.{_AFFINE}", _POSITION + r"embeddings.norm.\1"),
        (rf"{_BLOCK}norm1\.{_AFFINE}", ours + r"layernorm_before.\3"),
        (rf"{_BLOCK}norm2\.{_AFFINE}", ours + r"layernorm_after.\3"),
        (rf"{_BLOCK}attn\.qkv\.{_AFFINE}", ours + rf"attention.{_FUSED}.\3"),
        (rf"{_BLOCK}attn\.proj\.{_AFFINE}", ours + r"attention.o_proj.\3"),
        (rf"{_BLOCK}attn\.{bias}_table", ours + f"attention.{bias}.{bias}_table"),
        (rf"{_BLOCK}mlp\.(fc[12])\.{_AFFINE}", ours + r"mlp.\3.\4"),
        (rf"{downsample}(norm|reduction)\.{_AFFINE}", _POSITION + r"encoder.layers.\1.downsample.\2.\3"),
        (rf"{_SWIN}norm\.{_AFFINE}", _POSITION + r"layernorm.\1"),
    ]


# Entries that never reach the output of the original and get no gradient there.
_DEAD = [
    r"timeembed",
    r"pos\.[01]\..*",
    r"head\.1\.weight",
    _SWIN + r"head\.(weight|bias)",
    r"main_branch\.MLP[123]\.(weight|bias)",
    r".*\.relative_position_index",  # a table that follows from the window
]
_SHOWN_BY = {"pool.vec": ("soa",), "attn.0.weight": ("ca",), "conv_w.weight": ("cva", "coordinate")}
"""Entry of the first stage -> the attentions that have it; `"cva"` can do without."""


def _type_of(state: Mapping[str, torch.Tensor], attention_type: str | None) -> str:
    """Return the attention that the names show: `"cva"` where `"coordinate"` has the same names."""
    entries = (types for name, types in _SHOWN_BY.items() if f"main_branch.layer1.0.{name}" in state)
    shown = next(entries, ("cva",))
    if attention_type not in (None, *shown):
        raise ValueError(
            f"attention_type={attention_type!r} contradicts the weights, whose names show "
            f"{' or '.join(map(repr, shown))}."
        )
    return attention_type or shown[0]


def dead(state: Mapping[str, torch.Tensor], attention_type: str | None = None) -> list[str]:
    """Return the names of the original's entries that have no effect and are dropped.

    The gates of columns are among them for `"cva"` alone, which is also assumed where `attention_type` is not
    given and the names fit it.
    """
    patterns = list(_DEAD)
    if _type_of(state, attention_type) == "cva":
        patterns.append(r"main_branch\.layer\d\.0\.conv_w\.(weight|bias)")
    return [name for name in state if any(re.fullmatch(pattern, name) for pattern in patterns)]


def rename(state: Mapping[str, torch.Tensor], attention_type: str | None = None) -> dict[str, torch.Tensor]:
    """Return the original's weights under our names and in our shapes, without those that have no effect."""
    names = _names(_type_of(state, attention_type) == "ca")
    renamed = {}
    for name, tensor in common.rename_all(state, names, dead(state, attention_type), "FaceSleuth").items():
        if f".{_FUSED}." in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace(_FUSED, f"{part}_proj")] = rows
        else:
            renamed[name] = tensor
    return renamed


def read_config(state: Mapping[str, torch.Tensor], overrides: Mapping) -> tuple[FaceSleuthConfig, list[str]]:
    """Return the configuration that the weights and the user's values give, and notes on what was assumed."""
    attention_type = _type_of(state, overrides.get("attention_type"))
    try:
        motion = _shapes_of_motion(state, attention_type, overrides.get("attention_reduction"))
        shown = {"attention_type": attention_type} | motion | _shapes_of_position(state)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing: these are not the weights of a FaceSleuth.") from error
    config = common.build_config(FaceSleuthConfig, shown, overrides)
    unseen = ["skip_batch_norm_for_single_sample"]
    if "main_branch.layer1.0.conv_w.weight" in state:
        unseen.insert(0, "attention_type")
    return config, common.notes_on(config, shown, overrides, unseen)


def _shapes_of_motion(state: Mapping[str, torch.Tensor], attention_type: str, reduction: int | None) -> dict:
    plain = attention_type == "ca"
    first = "conv1" if plain else "preprocess.0"
    widths = [state[f"main_branch.layer{k}.0.{first}.weight"].shape[0] for k in range(1, 5)]
    dense, joined = state["main_branch.fc1.weight"].shape, state["main_branch.fc2.weight"].shape
    shown = {
        "image_size": 16 * math.isqrt(dense[1] // widths[-1]),
        "num_channels": state["conv_act.0.weight"].shape[1],
        "stem_channels": state["conv_act.0.weight"].shape[0],
        "hidden_sizes": widths,
        "fc_hidden_sizes": [dense[0], joined[0]],
        "num_action_units": joined[1] - dense[0],
        "num_labels": state["main_branch.fc3.bias"].shape[0],
    }
    if not plain:
        name = "squeeze" if attention_type == "soa" else "conv1"
        middle = [state[f"main_branch.layer{k}.0.{name}.weight"].shape[0] for k in range(1, 5)]
        divided = widths if attention_type == "soa" else [widths[0], *widths[:3]]
        shown["attention_reduction"] = _reduction(middle, divided, reduction or REDUCTIONS[attention_type])
    return shown


def _reduction(middle: list[int], widths: list[int], usual: int) -> int:
    """Return the divisor that the widths inside the gates show; the usual one if it gives these widths."""
    for divisor in (usual, *range(1, max(widths) + 1)):
        if all(max(8, width // divisor) == inner for inner, width in zip(middle, widths, strict=True)):
            return divisor
    raise ValueError(f"the gates of the weights have the widths {middle} inside, which no divisor gives.")


def _shapes_of_position(state: Mapping[str, torch.Tensor]) -> dict:
    layers = "swin_pos_224.layers."
    depths = Counter(stage for stage, _ in common.indices_in(state, _BLOCK))
    tables = [state[f"{layers}{i}.blocks.0.attn.relative_position_bias_table"] for i in range(len(depths))]
    width, _, patch, _ = state["swin_pos_224.patch_embed.proj.weight"].shape
    feed_forward = state[f"{layers}0.blocks.0.mlp.fc1.weight"]
    return {
        "swin_embed_dim": width,
        "swin_depths": [depths[stage] for stage in range(len(depths))],
        "swin_num_heads": [table.shape[1] for table in tables],
        "swin_window_size": (math.isqrt(tables[0].shape[0]) + 1) // 2,
        "swin_patch_size": patch,
        "swin_mlp_ratio": feed_forward.shape[0] / width,
        "swin_qkv_bias": f"{layers}0.blocks.0.attn.qkv.bias" in state,
    }


def convert(path: str | Path, out_dir: str | Path, overrides: Mapping | None = None) -> list[str]:
    """Convert a weight file of the original.

    Args:
        path (`str` or `Path`): The `.pth` file.
        out_dir (`str` or `Path`): Output folder, which appears when it is complete.
        overrides (`Mapping`, *optional*): Fields of `FaceSleuthConfig` that the weights do not show:
            `attention_type="coordinate"` has the same names as `"cva"`.

    Returns:
        `list[str]`: Lines on what was read, assumed and dropped.

    Raises:
        ValueError: If the file, the values or the folder cannot be used.
    """
    common.check_out_dir(out_dir)
    state = common.load_original(path)
    config, notes = read_config(state, overrides or {})
    weights = rename(state, config.attention_type)
    model = common.load_renamed(FaceSleuthForVideoClassification, config, weights)
    names = None if config.num_action_units else []
    processor = FaceSleuthImageProcessor(size=config.image_size, action_unit_names=names)
    if config.num_action_units != len(processor.action_unit_names):
        notes.append(
            f"The processor knows {len(processor.action_unit_names)} action units, the network takes "
            f"{config.num_action_units}: name them as action_unit_names in preprocessor_config.json."
        )
    common.save_converted(model, processor, out_dir)
    return [*notes, common.name_dead(state, dead(state, config.attention_type))]
