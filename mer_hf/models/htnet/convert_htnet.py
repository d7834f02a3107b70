"""Turns a state dict of the original HTNet code into a folder of ours.

    mer-hf convert htnet SUBJECT.pth OUT_DIR --config num_attention_heads=3

Not copied to the Hub: `AutoModelForVideoClassification.from_pretrained` reads the folder it writes.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..convert import build_config, check_out_dir, load_original, load_renamed, save_converted
from .configuration_htnet import HTNetConfig
from .image_processing_htnet import HTNetImageProcessor
from .modeling_htnet import HTNetForVideoClassification

_LEVEL, _LAYER = r"layers\.(\d+)\.", r"layers\.(\d+)\.0\.layers\.(\d+)\."
_NAMES = [
    (r"to_patch_embedding\.1\.(weight|bias)", r"htnet.embeddings.projection.\1"),
    (_LEVEL + r"0\.pos_emb", r"htnet.hierarchies.\1.position_embedding"),
    (_LAYER + r"0\.norm\.([gb])", r"htnet.hierarchies.\1.layers.\2.norm_before.\3"),
    (_LAYER + r"0\.fn\.to_qkv\.weight", r"htnet.hierarchies.\1.layers.\2.attention.qkv.weight"),
    (_LAYER + r"0\.fn\.to_out\.0\.(weight|bias)", r"htnet.hierarchies.\1.layers.\2.attention.projection.\3"),
    (_LAYER + r"1\.norm\.([gb])", r"htnet.hierarchies.\1.layers.\2.norm_after.\3"),
    (_LAYER + r"1\.fn\.net\.0\.(weight|bias)", r"htnet.hierarchies.\1.layers.\2.mlp.fc1.\3"),
    (_LAYER + r"1\.fn\.net\.3\.(weight|bias)", r"htnet.hierarchies.\1.layers.\2.mlp.fc2.\3"),
    (_LEVEL + r"1\.0\.(weight|bias)", r"htnet.hierarchies.\1.aggregation.convolution.\2"),
    (_LEVEL + r"1\.1\.([gb])", r"htnet.hierarchies.\1.aggregation.norm.\2"),
    (r"mlp_head\.0\.([gb])", r"htnet.norm.\1"),
    (r"mlp_head\.2\.(weight|bias)", r"classifier.\1"),
]


def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same values under our names and in our shapes.

    Args:
        state (`Mapping[str, torch.Tensor]`): A state dict of the original.

    Returns:
        `dict[str, torch.Tensor]`: 1 x 1 convolutions as linear layers, norms as vectors.

    Raises:
        ValueError: If a name is not one of the original's.
    """
    renamed = {}
    for name, tensor in state.items():
        pattern, replacement = next(((p, r) for p, r in _NAMES if re.fullmatch(p, name)), (None, None))
        if pattern is None:
            raise ValueError(f"{name} is not a name of the original HTNet: is this one of its weight files?")
        new = re.sub(pattern, replacement, name)
        new = re.sub(r"\.g$", ".weight", re.sub(r"\.b$", ".bias", new))
        if re.search(r"\.[gb]$", name):
            tensor = tensor.reshape(-1)  # (1, C, 1, 1) -> (C)
        elif tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor.reshape(tensor.shape[:2])  # (out, in, 1, 1) -> (out, in)
        renamed[new] = tensor.contiguous()
    return renamed


def read_config(state: Mapping[str, torch.Tensor], overrides: Mapping) -> tuple[HTNetConfig, list[str]]:
    """The configuration that the shapes of a state dict give, completed by the user or the published values.

    Args:
        state (`Mapping[str, torch.Tensor]`): A state dict of the original.
        overrides (`Mapping`): Fields of `HTNetConfig` given by the user.

    Returns:
        `tuple[HTNetConfig, list[str]]`: And one line on each thing that the shapes do not show.

    Raises:
        ValueError: If the shapes and the values do not fit.
    """
    state = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    try:
        hidden_size, patch_vector = state["to_patch_embedding.1.weight"].shape[:2]
        feed_forward = state["layers.0.0.layers.0.1.fn.net.0.weight"].shape[0]
        inner_size = state["layers.0.0.layers.0.0.fn.to_out.0.weight"].shape[1]
        tokens, num_labels = state["layers.0.0.pos_emb"].numel(), state["mlp_head.2.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing: these are not the weights of an HTNet.") from error
    indices = {m.groups() for m in (re.match(_LAYER, name) for name in state) if m}
    levels = 1 + max(int(level) for level, _ in indices)
    depths = [len({layer for level, layer in indices if int(level) == i}) for i in range(levels)]
    ratio = feed_forward / hidden_size
    found = {
        "hidden_size": hidden_size,
        "depths": depths,
        "num_hierarchies": levels,
        "mlp_ratio": int(ratio) if ratio.is_integer() else ratio,
        "num_labels": num_labels,
    }
    notes = [
        f"hidden_size={hidden_size}, depths={depths}, mlp_ratio={found['mlp_ratio']} and "
        f"num_labels={num_labels} were read from the shapes."
    ]
    given = _complete(overrides, patch_vector, tokens, levels)
    config = build_config(HTNetConfig, found, given)
    if config.tokens_per_block != tokens:
        raise ValueError(
            f"image_size={config.image_size} and patch_size={config.patch_size} give "
            f"{config.tokens_per_block} tokens a block, the weights have {tokens}. "
            "Give the image_size or patch_size of the training run."
        )
    head_size = config.hidden_size // config.num_attention_heads
    if head_size * config.num_attention_heads != inner_size:
        raise ValueError(
            f"num_attention_heads={config.num_attention_heads} gives an inner width of "
            f"{head_size * config.num_attention_heads}, the weights have {inner_size}. Give the number of "
            "heads of the training run with --config num_attention_heads=N."
        )
    assumed = [
        n for n in ("num_attention_heads", "patch_size", "num_channels", "image_size") if n not in overrides
    ]
    if assumed:
        values = ", ".join(f"{name}={getattr(config, name)}" for name in assumed)
        notes.append(f"{values} fit the shapes but are not shown by them; --config gives others.")
    return config, notes


def _complete(overrides: Mapping, patch_vector: int, tokens: int, levels: int) -> dict:
    """Patch size and image size where the user gives none: patch vector and tokens per block imply them."""
    given = dict(overrides)
    channels = given.get("num_channels", 3)
    if "patch_size" not in given:
        given["patch_size"] = math.isqrt(patch_vector // channels) if channels else 0
    if given["patch_size"] ** 2 * channels != patch_vector:
        raise ValueError(
            f"a patch of the weights holds {patch_vector} values, which patch_size={given['patch_size']} and "
            f"num_channels={channels} do not give. Give both with --config."
        )
    if "image_size" not in given:
        given["image_size"] = given["patch_size"] * 2 ** (levels - 1) * math.isqrt(tokens)
    return given


def convert(path: str | Path, out_dir: str | Path, overrides: Mapping | None = None) -> list[str]:
    """Convert a weight file of the original.

    Args:
        path (`str` or `Path`): The `.pth` file.
        out_dir (`str` or `Path`): Folder to be made; it appears when it is complete.
        overrides (`Mapping`, *optional*): Fields of `HTNetConfig` that the shapes do not show.

    Returns:
        `list[str]`: One line each on what was read and what was assumed.

    Raises:
        ValueError: If the file, the values or the folder will not do.
    """
    check_out_dir(out_dir)
    state = load_original(path)
    weights = rename(state)
    config, notes = read_config(state, overrides or {})
    model = HTNetForVideoClassification(config)
    load_renamed(model, weights)
    processor = None
    if config.num_channels == 3 and config.image_size % 4 == 0:
        processor = HTNetImageProcessor(size=config.image_size)
        notes.append(
            "The processor is the original's: mosaic=original, flow_method=tvl1, normalization=none."
        )
    else:
        notes.append(f"No processor is written: none makes {config.num_channels} x {config.image_size} maps.")
    save_converted(model, processor, out_dir)
    return notes


__all__ = ["convert", "read_config", "rename"]
