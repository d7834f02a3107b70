"""Configuration of FaceSleuth."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DEFAULT_LABELS = ("happiness", "repression", "disgust", "surprise", "others")
REDUCTIONS = {"cva": 32, "soa": 16, "coordinate": 32, "ca": 32}
STRIDE = 16  # of the last grid in the frame: the stem and three of the four stages halve it


@strict
class FaceSleuthConfig(PreTrainedConfig):
    r"""Sizes of a FaceSleuth. The defaults give the published network with vertical attention (75.7 M).

    Args:
        attention_type (`str`, *optional*, defaults to `"cva"`): How a stage gates its features. `"cva"`, one
            gate per channel and row (continuously vertical attention, the first paper); `"soa"`, the same
            from means along a learned direction (single-orientation attention, the later paper);
            `"coordinate"`, gates per row and per column; `"ca"`, one map for all channels, as in MMNet.
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame. The first dense layer
            weighs every position by itself, so that weights fit one size only.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        stem_channels (`int`, *optional*, defaults to 180): Width of the first convolution.
        hidden_sizes (`list[int]`, *optional*, defaults to `[128, 128, 256, 512]`): Width of each of the four
            stages. The last one is also the width of the position branch.
        fc_hidden_sizes (`list[int]`, *optional*, defaults to `[512, 128]`): Widths of the two dense layers
            before the classifier.
        attention_reduction (`int`, *optional*): What the width is divided by inside a gate, which has at
            least 8 channels; by default 16 of a stage's output for `"soa"` and 32 of its input otherwise.
            Without effect on `"ca"`.
        num_action_units (`int`, *optional*, defaults to 21): Action units that are given with the frames; 0
            for a network without.
        swin_embed_dim (`int`, *optional*, defaults to 128): Width of the first stage of the position branch;
            every further one has twice the width on half the grid.
        swin_depths (`list[int]`, *optional*, defaults to `[2, 2, 6]`): Its layers, stage by stage.
        swin_num_heads (`list[int]`, *optional*, defaults to `[4, 8, 16]`): Their heads, stage by stage.
        swin_window_size (`int`, *optional*, defaults to 7): Side of a window in tokens. It has to divide the
            grid of every stage.
        swin_patch_size (`int`, *optional*, defaults to 4): Side of a patch in pixels; doubled from stage to
            stage it has to reach 16, where the branches meet.
        swin_mlp_ratio (`int` or `float`, *optional*, defaults to 4.0): Width of the feed-forward layers over
            that of their stage.
        swin_qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        drop_path_rate (`float`, *optional*, defaults to 0.1): Stochastic depth of the last layer of the
            position branch; it grows linearly from 0 in the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-05): Of the position branch.
        batch_norm_eps (`float`, *optional*, defaults to 1e-05): Of every batch norm.
        soa_initial_angle (`float`, *optional*, defaults to 72.0): Direction, in degrees, with which every
            stage of a new `"soa"` network begins. 0 takes the means of rows, as `"cva"` does.
        skip_batch_norm_for_single_sample (`bool`, *optional*, defaults to `True`): Whether three of the batch
            norms are left out for a batch of one sample, as the original does, even in evaluation: what it
            says of a sample then depends on whether it comes alone. With `False` it does not.

    Raises:
        ValueError: If the sizes do not fit together.
    """

    model_type = "facesleuth"

    attention_type: Literal["cva", "soa", "coordinate", "ca"] = "cva"
    image_size: int = 224
    num_channels: int = 3
    stem_channels: int = 180
    hidden_sizes: list[int] | tuple[int, ...] | None = None
    fc_hidden_sizes: list[int] | tuple[int, ...] | None = None
    attention_reduction: int | None = None
    num_action_units: int = 21
    swin_embed_dim: int = 128
    swin_depths: list[int] | tuple[int, ...] | None = None
    swin_num_heads: list[int] | tuple[int, ...] | None = None
    swin_window_size: int = 7
    swin_patch_size: int = 4
    swin_mlp_ratio: int | float = 4.0
    swin_qkv_bias: bool = True
    drop_path_rate: float | int = 0.1
    layer_norm_eps: float | int = 1e-5
    batch_norm_eps: float | int = 1e-5
    soa_initial_angle: float | int = 72.0
    skip_batch_norm_for_single_sample: bool = True

    def __post_init__(self, **kwargs):
        self.hidden_sizes = [128, 128, 256, 512] if self.hidden_sizes is None else list(self.hidden_sizes)
        self.fc_hidden_sizes = [512, 128] if self.fc_hidden_sizes is None else list(self.fc_hidden_sizes)
        self.swin_depths = [2, 2, 6] if self.swin_depths is None else list(self.swin_depths)
        self.swin_num_heads = [4, 8, 16] if self.swin_num_heads is None else list(self.swin_num_heads)
        if self.attention_reduction is None:
            self.attention_reduction = REDUCTIONS.get(self.attention_type)
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {label: int(index) for index, label in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        """Check that every size is a size, and that they fit together."""
        single = [
            "image_size",
            "num_channels",
            "stem_channels",
            "attention_reduction",
            "swin_embed_dim",
            "swin_window_size",
            "swin_patch_size",
        ]
        for name in [*single, "hidden_sizes", "fc_hidden_sizes", "swin_depths", "swin_num_heads"]:
            value = getattr(self, name)
            if min(value if isinstance(value, list) else [value], default=0) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.num_action_units < 0:
            raise ValueError(f"num_action_units must be 0 (none) or more, got {self.num_action_units}.")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must lie in [0, 1), got {self.drop_path_rate}.")
        if self.swin_mlp_ratio * self.swin_embed_dim < 1:
            raise ValueError(f"swin_mlp_ratio must leave at least 1 channel, got {self.swin_mlp_ratio}.")
        self._check_stages()
        self._check_position_branch()

    def _check_stages(self):
        """The motion branch and the classifier."""
        if len(self.hidden_sizes) != 4:
            raise ValueError(f"hidden_sizes needs the widths of four stages, got {self.hidden_sizes}.")
        if self.attention_type != "ca" and self.hidden_sizes[0] != self.hidden_sizes[1]:
            raise ValueError(
                f"the first two of hidden_sizes must be equal, as the gates of the first stage are handed to "
                f"the second as they are, got {self.hidden_sizes}."
            )
        if len(self.fc_hidden_sizes) != 2:
            raise ValueError(f"fc_hidden_sizes needs two widths, got {self.fc_hidden_sizes}.")
        if self.image_size % STRIDE:
            raise ValueError(f"image_size must be a multiple of {STRIDE}, got {self.image_size}.")

    def _check_position_branch(self):
        """The two branches meet on the same grid and width, and windows tile every grid."""
        depths, heads = self.swin_depths, self.swin_num_heads
        if len(depths) != len(heads):
            raise ValueError(
                f"swin_depths and swin_num_heads must have as many stages, got {depths} and {heads}."
            )
        if self.swin_patch_size * 2 ** (len(depths) - 1) != STRIDE:
            raise ValueError(
                f"swin_patch_size must be {STRIDE / 2 ** (len(depths) - 1):g} for {len(depths)} stages, so "
                f"that the branches meet on one grid, got {self.swin_patch_size}."
            )
        widths = self.swin_widths
        if widths[-1] != self.hidden_sizes[-1]:
            raise ValueError(
                f"swin_embed_dim={self.swin_embed_dim} gives the position branch the width {widths[-1]}, the "
                f"last of hidden_sizes is {self.hidden_sizes[-1]}: they must be equal."
            )
        for side, width, count in zip(self.swin_sides, widths, heads, strict=True):
            if width % count:
                raise ValueError(
                    f"swin_num_heads must divide the widths {widths} stage by stage, got {heads}."
                )
            if side % self.swin_window_size:
                raise ValueError(
                    f"swin_window_size must divide the grids of sides {self.swin_sides} (image_size over "
                    f"swin_patch_size, halved from stage to stage), got {self.swin_window_size}."
                )

    @property
    def grid_size(self) -> int:
        """Side of the last feature map, on which the two branches meet."""
        return self.image_size // STRIDE

    @property
    def swin_sides(self) -> list[int]:
        """Side of the token grid of each stage of the position branch."""
        return [self.image_size // self.swin_patch_size // 2**stage for stage in range(len(self.swin_depths))]

    @property
    def swin_widths(self) -> list[int]:
        """Width of each stage of the position branch."""
        return [self.swin_embed_dim * 2**stage for stage in range(len(self.swin_depths))]


__all__ = ["FaceSleuthConfig"]
