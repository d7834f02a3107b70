"""Configuration of MMNet."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DEFAULT_LABELS = ("happiness", "repression", "disgust", "surprise", "others")

AUTO_MAP = {
    "AutoConfig": "configuration_mmnet.MMNetConfig",
    "AutoModel": "modeling_mmnet.MMNetModel",
    "AutoModelForVideoClassification": "modeling_mmnet.MMNetForVideoClassification",
}
"""The classes of a saved folder, whichever of them saved it."""


@strict
class MMNetConfig(PreTrainedConfig):
    r"""Sizes of an MMNet. The defaults give the published five-class network (9.4 M parameters).

    The published three-class network has `num_hidden_layers=3`, `mlp_ratio=2`, `drop_path_rate=0.3` and the
    classes positive, surprise, negative, in this order.

    Args:
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame. The classifier has a
            weight for every position, so that weights fit one size only.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        stem_channels (`list[int]`, *optional*, defaults to `[180, 128]`): Widths of the two stem
            convolutions.
        hidden_sizes (`list[int]`, *optional*, defaults to `[128, 128, 256, 512]`): Width of each attention
            block. The last one is also the width of the position branch.
        strides (`list[int]`, *optional*, defaults to `[1, 2, 2, 2]`): Stride of each attention block: 1 for
            the first, 2 for the others.
        num_hidden_layers (`int`, *optional*, defaults to 2): Transformer layers of the position branch.
        num_attention_heads (`int`, *optional*, defaults to 4): Heads of these layers.
        mlp_ratio (`int` or `float`, *optional*, defaults to 4): Width of the feed-forward layers, divided by
            the width of the branch.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last transformer layer;
            it grows linearly from 0 in the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-06): Epsilon of the position branch's norms.
        batch_norm_eps (`float`, *optional*, defaults to 1e-05): Epsilon of every batch norm.
        resize_antialias (`bool`, *optional*, defaults to `False`): Whether the onset frame is reduced for the
            position branch with antialiasing. The authors' results (April 2022) were made without it. With
            torchvision 0.17 and later their code uses it, and the logits differ visibly.

    Raises:
        ValueError: If the sizes do not fit together.
    """

    model_type = "mmnet"
    num_frames: ClassVar[int] = 2
    """Frames of a clip that it sees: onset and apex."""

    image_size: int = 224
    num_channels: int = 3
    stem_channels: list[int] | tuple[int, ...] | None = None
    hidden_sizes: list[int] | tuple[int, ...] | None = None
    strides: list[int] | tuple[int, ...] | None = None
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    mlp_ratio: int | float = 4
    qkv_bias: bool = True
    hidden_act: Literal["gelu", "gelu_new", "quick_gelu", "relu", "silu", "tanh"] = "gelu"
    drop_path_rate: float | int = 0.0
    layer_norm_eps: float | int = 1e-6
    batch_norm_eps: float | int = 1e-5
    resize_antialias: bool = False

    def __post_init__(self, **kwargs):
        self.stem_channels = list(self.stem_channels or (180, 128))
        self.hidden_sizes = list(self.hidden_sizes or (128, 128, 256, 512))
        self.strides = list(self.strides or [1] + [2] * (len(self.hidden_sizes) - 1))
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        super().__post_init__(**{"auto_map": dict(AUTO_MAP), **kwargs})
        self.label2id = self.label2id or {label: index for index, label in self.id2label.items()}

    def validate_sizes(self):
        """Check that the two branches meet on the same grid."""
        blocks = len(self.hidden_sizes)
        if self.strides != [1] + [2] * (blocks - 1):
            raise ValueError(
                f"strides must be 1 for the first block and 2 for each of the other {blocks - 1}, so that "
                f"the pooled attention of a block fits the next, got {self.strides}."
            )
        if self.image_size < 1 or self.image_size % 2**blocks:
            raise ValueError(
                f"image_size must be a multiple of {2**blocks} with {blocks} blocks, got {self.image_size}."
            )

    @property
    def grid_size(self) -> int:
        """Side of the last feature map, on which the two branches meet."""
        return self.image_size // 2 ** len(self.hidden_sizes)


__all__ = ["MMNetConfig"]
