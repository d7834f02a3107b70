"""Configuration of HSTA."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

DEFAULT_LABELS = ("happiness", "surprise", "anger", "disgust", "sadness", "fear", "others")


@strict
class HSTAConfig(PreTrainedConfig):
    r"""Sizes of an HSTA. The defaults give the published network (81.9 M parameters).

    Lists of two hold the branch of the key frames (onset and apex) first, the branch of the clip second. The
    default labels are the seven objective classes of CAS(ME)^3, I to VII, by the emotions that Davison et al.
    gave them.

    Args:
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame.
        patch_sizes (`list[int]`, *optional*, defaults to `[12, 16]`): Of each branch. A rest of the frame
            that holds no whole patch is not seen.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        num_frames (`int`, *optional*, defaults to 6): Sampled frames, which the branch of the clip sees.
        num_key_frames (`int`, *optional*, defaults to 2): Onset and apex.
        tubelet_size (`int`, *optional*, defaults to 2): Frames of a patch.
        hidden_sizes (`list[int]`, *optional*, defaults to `[384, 768]`): Width of each branch.
        num_attention_heads (`list[int]`, *optional*, defaults to `[12, 12]`): Heads of each branch.
        depths (`list[list[int]]`, *optional*, defaults to `[[1, 2], [1, 2], [1, 2], [1, 2]]`): Blocks of each
            branch in each stage.
        mlp_ratio (`int` or `float`, *optional*, defaults to 4): Width of the feed-forward layers over that of
            the branch.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries and values have a bias, and the
            keys of the exchange between branches.
        layer_norm_eps (`float`, *optional*, defaults to 1e-06): Of every norm.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.2): After the positions, projections and
            feed-forward layers.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0): On the attention weights.
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
    depths: list | tuple | None = None
    mlp_ratio: int | float = 4
    hidden_act: str = "gelu"
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
        self.depths = [[1, 2]] * 4 if self.depths is None else self.depths
        self.depths = [list(stage) if isinstance(stage, list | tuple) else stage for stage in self.depths]
        # The original writes a third number, which is 0 in every published network.
        self.depths = [
            stage[:2] if isinstance(stage, list) and stage[2:] == [0] else stage for stage in self.depths
        ]
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {label: int(index) for index, label in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        """Check that every list has two entries and that patches, tubelets and heads fit."""
        for name in ("patch_sizes", "hidden_sizes", "num_attention_heads"):
            value = getattr(self, name)
            if len(value) != 2 or not all(type(v) is int and v > 0 for v in value):
                raise ValueError(
                    f"{name} needs two positive whole numbers, key frames and clip, got {value}."
                )
        if min(self.num_channels, self.tubelet_size) < 1 or max(self.patch_sizes) > self.image_size:
            raise ValueError(
                f"a frame must hold a patch, got image_size={self.image_size}, "
                f"patch_sizes={self.patch_sizes}, num_channels={self.num_channels} and "
                f"tubelet_size={self.tubelet_size}."
            )
        if min(self.num_frames, self.num_key_frames) < self.tubelet_size:
            raise ValueError(
                f"both branches need at least tubelet_size={self.tubelet_size} frames, got "
                f"num_frames={self.num_frames} and num_key_frames={self.num_key_frames}."
            )
        for width, heads in zip(self.hidden_sizes, self.num_attention_heads, strict=True):
            if width % heads:
                raise ValueError(
                    f"num_attention_heads must divide hidden_sizes, got {self.num_attention_heads} and "
                    f"{self.hidden_sizes}."
                )

    def validate_depths(self):
        """Check that every stage has a number of blocks for each branch."""
        for stage in self.depths:
            if isinstance(stage, list) and len(stage) == 3:
                raise ValueError(
                    f"depths holds {stage}: a third number (a chain of exchanges) is used by no published "
                    "network and not supported. Leave it out."
                )
            if not (
                isinstance(stage, list) and len(stage) == 2 and all(type(n) is int and n >= 0 for n in stage)
            ):
                raise ValueError(
                    f"depths needs a pair of numbers of blocks for each stage, got {self.depths}."
                )
        if not self.depths:
            raise ValueError("depths needs at least one stage, got none.")

    def validate_rates(self):
        """Check ranges and the activation's name."""
        for name in ("drop_path_rate", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        for name in ("mlp_ratio", "layer_norm_eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(
                f"hidden_act {self.hidden_act!r} is unknown. Take one of transformers' such as gelu."
            )

    @property
    def grids(self) -> list[tuple[int, int, int]]:
        """Tokens of each branch in time, rows and columns."""
        frames = (self.num_key_frames, self.num_frames)
        sides = [self.image_size // patch for patch in self.patch_sizes]
        return [(t // self.tubelet_size, side, side) for t, side in zip(frames, sides, strict=True)]


__all__ = ["HSTAConfig"]
