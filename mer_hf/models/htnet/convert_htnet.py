"""Turns a state dict of the original HTNet code into a folder of ours.

    mer-hf convert htnet SUBJECT.pth OUT_DIR --config num_attention_heads=3

Not copied to the Hub: `AutoModelForVideoClassification.from_pretrained` reads the folder it writes.
"""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from .. import convert as common
from .configuration_htnet import HTNetConfig
from .image_processing_htnet import HTNetImageProcessor
from .modeling_htnet import HTNetForVideoClassification

_LEVEL, _LAYER = r"layers\.(\d+)\.", r"layers\.(\d+)\.0\.layers\.(\d+)\."
_BOTH = r"(weight|bias)"
_LEVELS = r"htnet.hierarchies.\1."
_LAYERS = r"htnet.hierarchies.\1.layers.\2."
_NAMES = [
    (r"to_patch_embedding\.1\." + _BOTH, r"htnet.embeddings.projection.\1"),
    (_LEVEL + r"0\.pos_emb", _LEVELS + "position_embedding"),
    (_LAYER + r"0\.norm\.g", _LAYERS + "norm_before.weight"),
    (_LAYER + r"0\.norm\.b", _LAYERS + "norm_before.bias"),
    (_LAYER + r"0\.fn\.to_qkv\.weight", _LAYERS + "attention.qkv.weight"),
    (_LAYER + r"0\.fn\.to_out\.0\." + _BOTH, _LAYERS + r"attention.projection.\3"),
    (_LAYER + r"1\.norm\.g", _LAYERS + "norm_after.weight"),
    (_LAYER + r"1\.norm\.b", _LAYERS + "norm_after.bias"),
    (_LAYER + r"1\.fn\.net\.0\." + _BOTH, _LAYERS + r"mlp.fc1.\3"),
    (_LAYER + r"1\.fn\.net\.3\." + _BOTH, _LAYERS + r"mlp.fc2.\3"),
    (_LEVEL + r"1\.0\." + _BOTH, _LEVELS + r"aggregation.convolution.\2"),
    (_LEVEL + r"1\.1\.g", _LEVELS + "aggregation.norm.weight"),
    (_LEVEL + r"1\.1\.b", _LEVELS + "aggregation.norm.bias"),
    (r"mlp_head\.0\.g", "htnet.norm.weight"),
    (r"mlp_head\.0\.b", "htnet.norm.bias"),
    (r"mlp_head\.2\." + _BOTH, r"classifier.\1"),
]

UNSEEN = ("num_attention_heads", "patch_size", "num_channels", "image_size")
"""Fields that the shapes of the weights do not show."""


def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the original's weights under our names; 1 x 1 convolutions as matrices, norms as vectors."""
    renamed = common.rename_all(state, _NAMES, (), "HTNet")
    for name, tensor in renamed.items():
        if "norm" in name:
            renamed[name] = tensor.flatten()  # (1, C, 1, 1) -> (C)
        elif tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            renamed[name] = tensor.flatten(1)  # (out, in, 1, 1) -> (out, in)
    return renamed


def read_config(state: Mapping[str, torch.Tensor], overrides: Mapping) -> tuple[HTNetConfig, list[str]]:
    """Return the configuration that the shapes and the user's values give, and notes on what was assumed."""
    try:
        hidden_size, patch_values = state["to_patch_embedding.1.weight"].shape[:2]
        feed_forward = state["layers.0.0.layers.0.1.fn.net.0.weight"].shape[0]
        tokens, num_labels = state["layers.0.0.pos_emb"].numel(), state["mlp_head.2.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing: these are not the weights of an HTNet.") from error
    layers = Counter(level for level, _ in common.indices_in(state, _LAYER))
    if len(layers) <= max(layers):
        raise ValueError(f"the layers of a hierarchy below {max(layers)} are missing.")
    ratio = feed_forward / hidden_size
    found = {
        "hidden_size": hidden_size,
        "depths": [layers[level] for level in range(1 + max(layers))],
        "mlp_ratio": int(ratio) if ratio.is_integer() else ratio,
        "num_labels": num_labels,
    }
    # The patch's values and the tokens per block imply the sizes, if the user does not give them.
    patch_size = overrides.get("patch_size", math.isqrt(patch_values // overrides.get("num_channels", 3)))
    implied = {"patch_size": patch_size, "image_size": patch_size * 2 ** max(layers) * math.isqrt(tokens)}
    config = common.build_config(HTNetConfig, found, implied | dict(overrides))
    return config, common.notes_on(config, found, overrides, UNSEEN)


def convert(path: str | Path, out_dir: str | Path, overrides: Mapping | None = None) -> list[str]:
    """Convert a weight file of the original.

    Args:
        path (`str` or `Path`): The `.pth` file.
        out_dir (`str` or `Path`): Output folder, which appears when it is complete.
        overrides (`Mapping`, *optional*): Fields of `HTNetConfig` that the shapes do not show.

    Returns:
        `list[str]`: Lines on what was read and what was assumed.

    Raises:
        ValueError: If the file, the values or the folder cannot be used.
    """
    common.check_out_dir(out_dir)
    state = common.load_original(path)
    weights = rename(state)
    config, notes = read_config(state, overrides or {})
    model = common.load_renamed(HTNetForVideoClassification, config, weights, UNSEEN)
    processor = None
    note = f"No processor is written: none makes {config.num_channels} x {config.image_size} maps."
    if config.num_channels == 3 and config.image_size % 4 == 0:
        processor = HTNetImageProcessor(size=config.image_size)
        note = "The processor is the original's: mosaic=original, flow_method=tvl1, normalization=none."
    common.save_converted(model, processor, out_dir)
    return [*notes, note]
