"""Configuration of HTNet."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DEFAULT_LABELS = ("negative", "positive", "surprise")

AUTO_MAP = {
    "AutoConfig": "configuration_htnet.HTNetConfig",
    "AutoModel": "modeling_htnet.HTNetModel",
    "AutoModelForVideoClassification": "modeling_htnet.HTNetForVideoClassification",
}
"""The classes of a saved folder, whichever of them saved it."""


@strict
class HTNetConfig(PreTrainedConfig):
    r"""Sizes of an HTNet. The defaults give the published network (139.6 M parameters).

    Hierarchy `i` of `H = len(depths)` is `hidden_size * 2**i` wide, has `num_attention_heads * 2**i` heads
    and attends inside `2**(H - 1 - i)` x `2**(H - 1 - i)` blocks of `tokens_per_block` patches. With the
    defaults a block holds one patch, so that attention is a linear map and every attention weight is 1.

    Args:
        image_size (`int`, *optional*, defaults to 28): Height and width of the flow map.
        patch_size (`int`, *optional*, defaults to 7): Height and width of a patch; divides `image_size`.
        num_channels (`int`, *optional*, defaults to 3): Channels of the flow map.
        hidden_size (`int`, *optional*, defaults to 256): Width of the first (finest) hierarchy.
        num_attention_heads (`int`, *optional*, defaults to 3): Heads of the first hierarchy. They need not
            divide the width: a head is `hidden_size // num_attention_heads` wide (published: 85).
        depths (`list[int]` or `int`, *optional*, defaults to `[2, 2, 10]`): Transformer layers per hierarchy,
            finest first. One number applies to each of `num_hierarchies`.
        num_hierarchies (`int`, *optional*): By default the length of `depths`, or 3 if that is one number.
        mlp_ratio (`int` or `float`, *optional*, defaults to 4): Width of the feed-forward layers, divided by
            the width of the hierarchy.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0): Dropout after projections and feed-forward
            layers.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0): Dropout on the attention weights.
        layer_norm_eps (`float`, *optional*, defaults to 1e-05): Epsilon of every norm.

    Raises:
        ValueError: If the patches do not tile the map, or the blocks do not tile the patches.
    """

    model_type = "htnet"
    num_frames: ClassVar[int] = 2
    """Frames of a clip that it sees: onset and apex."""

    image_size: int = 28
    patch_size: int = 7
    num_channels: int = 3
    hidden_size: int = 256
    num_attention_heads: int = 3
    depths: list[int] | tuple[int, ...] | int | None = None
    num_hierarchies: int | None = None
    mlp_ratio: int | float = 4
    hidden_act: Literal["gelu", "gelu_new", "quick_gelu", "relu", "silu", "tanh"] = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    layer_norm_eps: float | int = 1e-5

    def __post_init__(self, **kwargs):
        if self.depths is None:
            self.depths = [2, 2, 10]
        elif isinstance(self.depths, int):
            self.depths = [self.depths] * (3 if self.num_hierarchies is None else self.num_hierarchies)
        self.depths = list(self.depths)
        if self.num_hierarchies is None:
            self.num_hierarchies = len(self.depths)
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        super().__post_init__(**{"auto_map": dict(AUTO_MAP), **kwargs})
        self.label2id = self.label2id or {label: index for index, label in self.id2label.items()}

    def validate_sizes(self):
        """Check that patches tile the map, blocks tile the patches and every head has a channel."""
        if not self.depths or self.num_hierarchies != len(self.depths):
            raise ValueError(
                f"depths needs one number for each hierarchy, got depths={self.depths} and "
                f"num_hierarchies={self.num_hierarchies}. num_hierarchies can be left out."
            )
        if self.patch_size < 1 or self.image_size % (self.patch_size * 2 ** (self.num_hierarchies - 1)):
            raise ValueError(
                f"image_size must be a multiple of patch_size * 2**(num_hierarchies - 1), got image_size="
                f"{self.image_size} and patch_size={self.patch_size} with {self.num_hierarchies} hierarchies."
            )
        if self.hidden_size < self.num_attention_heads:
            raise ValueError(
                f"a head needs at least one channel, got hidden_size={self.hidden_size} and "
                f"num_attention_heads={self.num_attention_heads}."
            )

    @property
    def tokens_per_block(self) -> int:
        """Number of patches in a block, the same in every hierarchy; 1 in the published network."""
        return (self.image_size // self.patch_size // 2 ** (len(self.depths) - 1)) ** 2


__all__ = ["HTNetConfig"]
