"""Convert a state dict of the original MMNet code to a folder of this package.

    mer-hf convert mmnet MODEL.pth OUT_DIR --config resize_antialias=true

Not copied to the Hub: `AutoModelForVideoClassification.from_pretrained` reads the folder it writes.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from .. import convert as common
from .configuration_mmnet import MMNetConfig
from .image_processing_mmnet import MMNetImageProcessor
from .modeling_mmnet import MMNetForVideoClassification

# The order of the original's three-class script, which differs from HTNet's.
THREE_CLASSES = ("positive", "surprise", "negative")

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_STEM, _LAYER = "mmnet.motion_branch.stem.", "mmnet.position_branch.layers."


def _block(number: int) -> list[tuple[str, str]]:
    """Return the names of one attention block; the original counts from 1."""
    theirs, ours = rf"main_branch\.layer{number}\.0\.", f"mmnet.motion_branch.blocks.{number - 1}."
    return [
        (theirs + r"conv([12])\.weight", ours + r"convolution\1.convolution.weight"),
        (theirs + r"bn([12])\." + _NORM, ours + r"convolution\1.normalization.\2"),
        (theirs + r"attn\.0\.weight", ours + "gate.convolution.weight"),
        (theirs + r"attn\.1\." + _NORM, ours + r"gate.normalization.\1"),
        (theirs + r"downsample\.0\.weight", ours + "shortcut.convolution.weight"),
        (theirs + r"downsample\.1\." + _NORM, ours + r"shortcut.normalization.\1"),
    ]


_NAMES = [
    (r"conv_act\.0\.weight", _STEM + "0.convolution.weight"),
    (r"conv_act\.1\." + _NORM, _STEM + r"0.normalization.\1"),
    (r"main_branch\.conv1\.weight", _STEM + "1.convolution.weight"),
    (r"main_branch\.bn1\." + _NORM, _STEM + r"1.normalization.\1"),
    *[names for number in range(1, 10) for names in _block(number)],
    (r"main_branch\.fc\.(weight|bias)", r"classifier.\1"),
    (r"vit_pos\.patch_embed\.proj\.(weight|bias)", r"mmnet.position_branch.projection.\1"),
    (r"vit_pos\.pos_embed", "mmnet.position_branch.position_embedding"),
    (r"vit_pos\.blocks\.(\d+)\.norm1\.(weight|bias)", _LAYER + r"\1.norm_before.\2"),
    (r"vit_pos\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)", _LAYER + r"\1.attention.qkv.\2"),
    (r"vit_pos\.blocks\.(\d+)\.attn\.proj\.(weight|bias)", _LAYER + r"\1.attention.projection.\2"),
    (r"vit_pos\.blocks\.(\d+)\.norm2\.(weight|bias)", _LAYER + r"\1.norm_after.\2"),
    (r"vit_pos\.blocks\.(\d+)\.mlp\.(fc[12])\.(weight|bias)", _LAYER + r"\1.mlp.\2.\3"),
    (r"vit_pos\.norm\.(weight|bias)", r"mmnet.position_branch.norm.\1"),
]
# Entries that never reach the output of the original and get no gradient there.
_DEAD = [
    r"timeembed",
    r"pos\.[01]\..*",
    r"vit_pos\.cls_token",
    r"vit_pos\.head\.(weight|bias)",
    r"vit_pos\.to_Mask\..*",
    r"head1?\.1\.weight",
]


def dead(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of the original's entries that have no effect and are dropped."""
    return [name for name in state if any(re.fullmatch(pattern, name) for pattern in _DEAD)]


def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the original's weights under our names and in our shapes, without those that have no effect."""
    renamed = common.rename_all(state, _NAMES, dead(state), "MMNet")
    name = "mmnet.position_branch.projection.weight"
    if name in renamed:
        renamed[name] = renamed[name].flatten(1)  # (C, 3, 1, 1) -> (C, 3)
    return renamed


def read_config(state: Mapping[str, torch.Tensor], overrides: Mapping) -> tuple[MMNetConfig, list[str]]:
    """Return the configuration that the shapes and the user's values give, and notes on what was assumed."""
    blocks = len(common.indices_in(state, r"main_branch\.layer(\d+)\.0\.conv1\.weight"))
    layers = len(common.indices_in(state, r"vit_pos\.blocks\.(\d+)\.norm1\.weight"))
    try:
        stem = [state[name].shape[0] for name in ("conv_act.0.weight", "main_branch.conv1.weight")]
        convolutions = [state[f"main_branch.layer{i + 1}.0.conv1.weight"] for i in range(blocks)]
        width, channels = state["vit_pos.patch_embed.proj.weight"].shape[:2]
        grid = math.isqrt(state["vit_pos.pos_embed"].shape[1])
        ratio = state["vit_pos.blocks.0.mlp.fc1.weight"].shape[0] / width
        shown = {
            "image_size": grid * 2**blocks,
            "num_channels": channels,
            "stem_channels": stem,
            "hidden_sizes": [convolution.shape[0] for convolution in convolutions],
            "num_hidden_layers": layers,
            "mlp_ratio": int(ratio) if ratio.is_integer() else ratio,
            "qkv_bias": "vit_pos.blocks.0.attn.qkv.bias" in state,
            "num_labels": state["main_branch.fc.bias"].shape[0],
        }
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing: these are not the weights of an MMNet.") from error
    chosen = dict(overrides)
    if shown["num_labels"] == len(THREE_CLASSES):
        chosen.setdefault("id2label", dict(enumerate(THREE_CLASSES)))
    config = common.build_config(MMNetConfig, shown, chosen)
    notes = common.notes_on(config, shown, overrides, ("num_attention_heads", "resize_antialias"))
    if "id2label" not in overrides:
        classes = ", ".join(config.id2label.values())
        notes.append(
            f"The classes are taken to be {classes}, in this order; --config id2label=... gives others."
        )
    return config, notes


def convert(path: str | Path, out_dir: str | Path, overrides: Mapping | None = None) -> list[str]:
    """Convert a weight file of the original.

    Args:
        path (`str` or `Path`): The `.pth` file.
        out_dir (`str` or `Path`): Output folder, which appears when it is complete.
        overrides (`Mapping`, *optional*): Fields of `MMNetConfig` that the shapes do not show.

    Returns:
        `list[str]`: Lines on what was read, assumed and dropped.

    Raises:
        ValueError: If the file, the values or the folder cannot be used.
    """
    common.check_out_dir(out_dir)
    state = common.load_original(path)
    weights = rename(state)
    config, notes = read_config(state, overrides or {})
    model = common.load_renamed(MMNetForVideoClassification, config, weights)
    common.save_converted(model, MMNetImageProcessor(size=config.image_size), out_dir)
    return [*notes, common.name_dead(state, dead(state))]
