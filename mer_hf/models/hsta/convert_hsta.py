"""Turns a state dict of the original HSTA code into a folder of ours.

    mer-hf convert hsta MODEL.pth OUT_DIR --config 'num_attention_heads=[6, 6]'

Not copied to the Hub: `AutoModelForVideoClassification.from_pretrained` reads the folder it writes.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from .. import convert as common
from .configuration_hsta import HSTAConfig
from .image_processing_hsta import HSTAImageProcessor
from .modeling_hsta import HSTAForVideoClassification

_LAYER, _OUR_LAYER = r"blocks\.(\d+)\.blocks\.(\d+)\.(\d+)\.", r"hsta.stages.\1.layers.\2.\3."
_EXCHANGE = r"hsta.stages.\1.exchanges.\2."
_BOTH = r"(weight|bias)"
_NAMES = [
    (r"patch_embed\.(\d+)\.proj\." + _BOTH, r"hsta.embeddings.\1.projection.\2"),
    (r"cls_token\.(\d+)", r"hsta.embeddings.\1.class_token"),
    (_LAYER + r"norm1\." + _BOTH, _OUR_LAYER + r"norm_before.\4"),
    (_LAYER + r"norm2\." + _BOTH, _OUR_LAYER + r"norm_after.\4"),
    (_LAYER + r"attn\.q_bias", _OUR_LAYER + "attention.query_bias"),
    (_LAYER + r"attn\.v_bias", _OUR_LAYER + "attention.value_bias"),
    (_LAYER + r"attn\.qkv\.weight", _OUR_LAYER + "attention.qkv.weight"),
    (_LAYER + r"attn\.proj\." + _BOTH, _OUR_LAYER + r"attention.projection.\4"),
    (_LAYER + r"mlp\.(fc[12])\." + _BOTH, _OUR_LAYER + r"mlp.\4.\5"),
    (r"blocks\.(\d+)\.projs\.(\d+)\.0\." + _BOTH, _EXCHANGE + r"norm_in.\3"),
    (r"blocks\.(\d+)\.projs\.(\d+)\.2\." + _BOTH, _EXCHANGE + r"projection_in.\3"),
    (r"blocks\.(\d+)\.fusion\.(\d+)\.norm1\." + _BOTH, _EXCHANGE + r"norm.\3"),
    (r"blocks\.(\d+)\.fusion\.(\d+)\.attn\.wq\." + _BOTH, _EXCHANGE + r"attention.query.\3"),
    (r"blocks\.(\d+)\.fusion\.(\d+)\.attn\.wk\." + _BOTH, _EXCHANGE + r"attention.key.\3"),
    (r"blocks\.(\d+)\.fusion\.(\d+)\.attn\.wv\." + _BOTH, _EXCHANGE + r"attention.value.\3"),
    (r"blocks\.(\d+)\.fusion\.(\d+)\.attn\.proj\." + _BOTH, _EXCHANGE + r"attention.projection.\3"),
    (r"blocks\.(\d+)\.revert_projs\.(\d+)\.0\." + _BOTH, _EXCHANGE + r"norm_out.\3"),
    (r"blocks\.(\d+)\.revert_projs\.(\d+)\.2\." + _BOTH, _EXCHANGE + r"projection_out.\3"),
    (r"norm\.(\d+)\." + _BOTH, r"hsta.norms.\1.\2"),
    (r"head\." + _BOTH, r"classifier.\1"),
]


def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the original's weights under our names."""
    return common.rename_all(state, _NAMES, (), "HSTA")


def read_config(state: Mapping[str, torch.Tensor], overrides: Mapping) -> tuple[HSTAConfig, list[str]]:
    """Return the configuration that the shapes and the user's values give, and notes on what was assumed."""
    try:
        kernels = [state[f"patch_embed.{branch}.proj.weight"].shape for branch in (0, 1)]
        classes, pooled = state["head.weight"].shape
        (last_stage,) = max(common.indices_in(state, r"blocks\.(\d+)\."))
        widths = [kernel[0] for kernel in kernels]
        inner = next(t.shape for n, t in state.items() if re.fullmatch(_LAYER + r"mlp\.fc1\.weight", n))
    except (KeyError, ValueError, StopIteration) as error:
        missing = error.args[0] if isinstance(error, KeyError) else "its blocks"
        raise ValueError(f"{missing} is missing: these are not the weights of an HSTA.") from error
    layers = Counter((stage, branch) for stage, branch, _ in common.indices_in(state, _LAYER))
    ratio = inner[0] / inner[1]
    found = {
        "patch_sizes": [kernel[3] for kernel in kernels],
        "num_channels": kernels[0][1],
        "tubelet_size": kernels[0][2],
        "hidden_sizes": widths,
        "depths": [[layers[stage, branch] for branch in (0, 1)] for stage in range(last_stage + 1)],
        "mlp_ratio": int(ratio) if ratio.is_integer() else ratio,
        "qkv_bias": any(name.endswith("attn.q_bias") for name in state),
        "num_labels": classes,
    }
    if pooled == 2 * sum(widths):
        found["pooling"] = "cls_last"
    config = common.build_config(HSTAConfig, found, overrides)
    unseen = {"image_size", "num_frames", "num_attention_heads", "pooling"} - found.keys()
    return config, common.notes_on(config, found, overrides, sorted(unseen))


def convert(path: str | Path, out_dir: str | Path, overrides: Mapping | None = None) -> list[str]:
    """Convert a weight file of the original.

    Args:
        path (`str` or `Path`): The `.pth` file.
        out_dir (`str` or `Path`): Output folder, which appears when it is complete.
        overrides (`Mapping`, *optional*): Fields of `HSTAConfig` that the shapes do not show.

    Returns:
        `list[str]`: Lines on what was read and what was assumed.

    Raises:
        ValueError: If the file, the values or the folder cannot be used.
    """
    common.check_out_dir(out_dir)
    state = common.load_original(path)
    weights = rename(state)
    config, notes = read_config(state, overrides or {})
    model = common.load_renamed(HSTAForVideoClassification, config, weights)
    processor = HSTAImageProcessor(size=config.image_size, num_frames=config.num_frames)
    common.save_converted(model, processor, out_dir)
    note = "The processor draws frames at random as the original does: seed=0 makes the draw repeatable."
    return [*notes, note]
