"""Configuration of HSTA."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DEFAULT_LABELS = ("happiness", "surprise", "anger", "disgust", "sadness", "fear", "others")

AUTO_MAP = {
    "AutoConfig": "configuration_hsta.HSTAConfig",
    "AutoModel": "modeling_hsta.HSTAModel",
    "AutoModelForVideoClassification": "modeling_hsta.HSTAForVideoClassification",
}
"""The classes of a saved folder, whichever of them saved it."""


@strict
class HSTAConfig(PreTrainedConfig):
    r"""Sizes of an HSTA. The defaults give the published network (81.9 M parameters).

    Lists of two hold the branch of the key frames (onset and apex) first, the branch of the clip second. The
    default labels are the seven objective classes of CAS(ME)^3, I to VII, named by the emotions that Davison
    et al. assign to them.

    Args:
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame.
        patch_sizes (`list[int]`, *optional*, defaults to `[12, 16]`): Patch size of each branch. The
            edge of the frame that holds no whole patch is ignored.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        num_frames (`int`, *optional*, defaults to 6): Sampled frames, the input of the clip's branch.
        num_key_frames (`int`, *optional*, defaults to 2): Onset and apex.
        tubelet_size (`int`, *optional*, defaults to 2): Frames per patch.
        hidden_sizes (`list[int]`, *optional*, defaults to `[384, 768]`): Width of each branch.
        num_attention_heads (`list[int]`, *optional*, defaults to `[12, 12]`): Heads of each branch.
        depths (`list[list[int]]`, *optional*, defaults to `[[1, 2], [1, 2], [1, 2], [1, 2]]`): Blocks of each
            branch in each stage.
        mlp_ratio (`int` or `float`, *optional*, defaults to 4): Width of the feed-forward layers, divided by
            the width of the branch.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries and values have a bias, and the
            keys of the exchange between branches.
        layer_norm_eps (`float`, *optional*, defaults to 1e-06): Epsilon of every norm.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.2): Dropout after the positions, projections
            and feed-forward layers.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0): Dropout on the attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.2): Stochastic depth of the last block.
        pooling (`str`, *optional*, defaults to `"cls"`): What the classifier sees of each branch: its first
            token (`"cls"`), the first and the last (`"cls_last"`), or the mean of all (`"mean"`).
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of linear layers and
            class tokens.

    Raises:
        ValueError: If the sizes do not fit together.
    """

    model_type = "hsta"

    image_size: int = 224
    patch_sizes: list[int] | tuple[int, ...] | None = None
    num_channels: int = 3
    num_frames: int = 6
    num_key_frames: int = 2
    tubelet_size: int = 2
    hidden_sizes: list[int] | tuple[int, ...] | None = None
    num_attention_heads: list[int] | tuple[int, ...] | None = None
    depths: list[list[int]] | tuple[tuple[int, ...], ...] | None = None
    mlp_ratio: int | float = 4
    hidden_act: Literal["gelu", "gelu_new", "quick_gelu", "relu", "silu", "tanh"] = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float | int = 1e-6
    hidden_dropout_prob: float | int = 0.2
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.2
    pooling: Literal["cls", "cls_last", "mean"] = "cls"
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs):
        defaults = {"patch_sizes": [12, 16], "hidden_sizes": [384, 768], "num_attention_heads": [12, 12]}
        for name, default in defaults.items():
            value = getattr(self, name)
            setattr(self, name, default if value is None else list(value))
        # The original writes a third number per stage, which is 0 in every published network.
        depths = [[1, 2]] * 4 if self.depths is None else self.depths
        self.depths = [list(stage[:2]) if list(stage[2:]) == [0] else list(stage) for stage in depths]
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        super().__post_init__(**{"auto_map": dict(AUTO_MAP), **kwargs})
        self.label2id = self.label2id or {label: index for index, label in self.id2label.items()}

    def validate_sizes(self):
        """Check that every list has two entries and that patches, tubelets and heads fit."""
        lists = {name: getattr(self, name) for name in ("patch_sizes", "hidden_sizes", "num_attention_heads")}
        lists |= {f"stage {i} of depths": depth for i, depth in enumerate(self.depths)}
        for name, values in lists.items():
            if len(values) != 2:
                raise ValueError(f"{name} needs two numbers, key frames and clip, got {values}.")
        if not self.depths:
            raise ValueError("depths needs at least one stage.")
        if max(self.patch_sizes) > self.image_size:
            raise ValueError(
                f"a frame must hold a patch, got {self.image_size} pixels for patch_sizes={self.patch_sizes}."
            )
        if min(self.num_frames, self.num_key_frames) < self.tubelet_size:
            raise ValueError(
                f"both branches need at least tubelet_size={self.tubelet_size} frames, got "
                f"num_frames={self.num_frames} and num_key_frames={self.num_key_frames}."
            )
        pairs = zip(self.hidden_sizes, self.num_attention_heads, strict=True)
        if any(width % heads for width, heads in pairs):
            raise ValueError(
                f"num_attention_heads must divide hidden_sizes, got {self.num_attention_heads} and "
                f"{self.hidden_sizes}."
            )

    @property
    def grids(self) -> list[tuple[int, int, int]]:
        """Number of tokens of each branch in time, rows and columns."""
        frames = (self.num_key_frames, self.num_frames)
        sides = [self.image_size // patch for patch in self.patch_sizes]
        return [(t // self.tubelet_size, side, side) for t, side in zip(frames, sides, strict=True)]


__all__ = ["HSTAConfig"]
