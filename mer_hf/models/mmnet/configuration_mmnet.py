"""Configuration of MMNet."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

DEFAULT_LABELS = ("happiness", "repression", "disgust", "surprise", "others")


@strict
class MMNetConfig(PreTrainedConfig):
    r"""Sizes of an MMNet. The defaults give the published five-class network (9.4 M parameters).

    The published three-class network has `num_hidden_layers=3`, `mlp_ratio=2`, `drop_path_rate=0.3` and the
    classes positive, surprise, negative, in this order.

    Args:
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame. The classifier weighs
            every position by itself, so that weights fit one size only.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        stem_channels (`list[int]`, *optional*, defaults to `[180, 128]`): Widths of the two stem
            convolutions.
        hidden_sizes (`list[int]`, *optional*, defaults to `[128, 128, 256, 512]`): Width of each attention
            block. The last one is also the width of the position branch.
        strides (`list[int]`, *optional*, defaults to `[1, 2, 2, 2]`): Stride of each attention block: 1 for
            the first, 2 for the others.
        num_hidden_layers (`int`, *optional*, defaults to 2): Transformer layers of the position branch.
        num_attention_heads (`int`, *optional*, defaults to 4): Their heads.
        mlp_ratio (`int` or `float`, *optional*, defaults to 4): Width of their feed-forward layers over that
            of the branch.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last transformer layer;
            it grows linearly from 0 in the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-06): Of the position branch.
        batch_norm_eps (`float`, *optional*, defaults to 1e-05): Of every batch norm.
        resize_antialias (`bool`, *optional*, defaults to `False`): Whether the onset frame is reduced for the
            position branch with antialiasing. The authors' results (April 2022) were made without; their code
            does it with torchvision 0.17 and later, and the logits differ visibly.

    Raises:
        ValueError: If the sizes do not fit together.
    """

    model_type = "mmnet"

    image_size: int = 224
    num_channels: int = 3
    stem_channels: list[int] | tuple[int, ...] | None = None
    hidden_sizes: list[int] | tuple[int, ...] | None = None
    strides: list[int] | tuple[int, ...] | None = None
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    mlp_ratio: int | float = 4
    qkv_bias: bool = True
    hidden_act: str = "gelu"
    drop_path_rate: float | int = 0.0
    layer_norm_eps: float | int = 1e-6
    batch_norm_eps: float | int = 1e-5
    resize_antialias: bool = False

    def __post_init__(self, **kwargs):
        self.stem_channels = [180, 128] if self.stem_channels is None else list(self.stem_channels)
        self.hidden_sizes = [128, 128, 256, 512] if self.hidden_sizes is None else list(self.hidden_sizes)
        self.strides = (
            [1] + [2] * (len(self.hidden_sizes) - 1) if self.strides is None else list(self.strides)
        )
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {label: int(index) for index, label in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        """Check that the two branches meet on the same grid and width."""
        numbers = [
            self.image_size,
            self.num_channels,
            self.num_attention_heads,
            *self.stem_channels,
            *self.hidden_sizes,
        ]
        if min(numbers, default=0) < 1:
            raise ValueError(
                f"sizes must be at least 1, got image_size={self.image_size}, "
                f"num_channels={self.num_channels}, num_attention_heads={self.num_attention_heads}, "
                f"stem_channels={self.stem_channels} and hidden_sizes={self.hidden_sizes}."
            )
        if self.num_hidden_layers < 0 or not self.hidden_sizes:
            raise ValueError(
                f"there must be at least one block and no negative number of layers, got hidden_sizes="
                f"{self.hidden_sizes} and num_hidden_layers={self.num_hidden_layers}."
            )
        if len(self.stem_channels) != 2:
            raise ValueError(f"stem_channels needs two widths, got {self.stem_channels}.")
        blocks = len(self.hidden_sizes)
        if self.strides != [1] + [2] * (blocks - 1):
            raise ValueError(
                f"strides must be 1 for the first block and 2 for each of the other {blocks - 1}, so that "
                f"the pooled attention of a block fits the next, got {self.strides}."
            )
        if self.image_size % 2**blocks:
            raise ValueError(
                f"image_size must be a multiple of {2**blocks} with {blocks} blocks, got {self.image_size}."
            )
        if self.hidden_sizes[-1] % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads must divide the last of hidden_sizes, got "
                f"{self.num_attention_heads} and {self.hidden_sizes[-1]}."
            )

    def validate_rates(self):
        """Check ranges and the activation's name."""
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must lie in [0, 1), got {self.drop_path_rate}.")
        for name in ("mlp_ratio", "layer_norm_eps", "batch_norm_eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(
                f"hidden_act {self.hidden_act!r} is unknown. Take one of transformers' such as gelu."
            )

    @property
    def grid_size(self) -> int:
        """Side of the last feature map, on which the two branches meet."""
        return self.image_size // 2 ** len(self.hidden_sizes)


__all__ = ["MMNetConfig"]
