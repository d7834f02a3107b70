"""Configuration of FaceSleuth."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DEFAULT_LABELS = ("happiness", "repression", "disgust", "surprise", "others")
REDUCTIONS = {"cva": 32, "soa": 16, "coordinate": 32, "ca": 32}
STRIDE = 16  # pixels per position of the last grid: the stem and three of the four stages halve it

AUTO_MAP = {
    "AutoConfig": "configuration_facesleuth.FaceSleuthConfig",
    "AutoModel": "modeling_facesleuth.FaceSleuthModel",
    "AutoModelForVideoClassification": "modeling_facesleuth.FaceSleuthForVideoClassification",
}
"""The classes of a saved folder, whichever of them saved it."""


@strict
class FaceSleuthConfig(PreTrainedConfig):
    r"""Sizes of a FaceSleuth. The defaults give the published network with vertical attention (75.7 M).

    Args:
        attention_type (`str`, *optional*, defaults to `"cva"`): How a stage gates its features. `"cva"`, one
            gate per channel and row (continuously vertical attention, the first paper); `"soa"`, the same
            from means along a learned direction (single-orientation attention, the later paper);
            `"coordinate"`, gates per row and per column; `"ca"`, one map for all channels, as in MMNet.
        image_size (`int`, *optional*, defaults to 224): Height and width of a frame. The first dense layer
            has a weight for every position, so that weights fit one size only.
        num_channels (`int`, *optional*, defaults to 3): Channels of a frame.
        stem_channels (`int`, *optional*, defaults to 180): Width of the first convolution.
        hidden_sizes (`list[int]`, *optional*, defaults to `[128, 128, 256, 512]`): Width of each of the four
            stages. The last one is also the width of the position branch.
        fc_hidden_sizes (`list[int]`, *optional*, defaults to `[512, 128]`): Widths of the two dense layers
            before the classifier.
        attention_reduction (`int`, *optional*): Divisor of the width inside a gate, which has at least 8
            channels; by default 16 of a stage's output width for `"soa"` and 32 of its input width otherwise.
            `"ca"` does not use it.
        num_action_units (`int`, *optional*, defaults to 21): Action units that come with the frames; 0 for a
            network without them.
        swin_embed_dim (`int`, *optional*, defaults to 128): Width of the first stage of the position branch;
            every further one has twice the width on half the grid.
        swin_depths (`list[int]`, *optional*, defaults to `[2, 2, 6]`): Number of layers of each stage.
        swin_num_heads (`list[int]`, *optional*, defaults to `[4, 8, 16]`): Heads of each stage.
        swin_window_size (`int`, *optional*, defaults to 7): Side of a window in tokens. It must divide the
            grid of every stage.
        swin_patch_size (`int`, *optional*, defaults to 4): Side of a patch in pixels. Doubled from stage to
            stage it must reach 16, where the branches meet.
        swin_mlp_ratio (`int` or `float`, *optional*, defaults to 4.0): Width of the feed-forward layers,
            divided by the width of their stage.
        swin_qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        drop_path_rate (`float`, *optional*, defaults to 0.1): Stochastic depth of the last layer of the
            position branch; it grows linearly from 0 in the first.
        layer_norm_eps (`float`, *optional*, defaults to 1e-05): Epsilon of the norms inside the position
            branch's layers.
        batch_norm_eps (`float`, *optional*, defaults to 1e-05): Epsilon of every batch norm.
        soa_initial_angle (`float`, *optional*, defaults to 72.0): Direction, in degrees, with which every
            stage of a new `"soa"` network begins. 0 takes the means of rows, as `"cva"` does.
        skip_batch_norm_for_single_sample (`bool`, *optional*, defaults to `True`): Whether three of the batch
            norms are skipped for a batch of one sample, as in the original, even in evaluation. The answer to
            a sample then depends on whether it comes alone. With `False` it does not.

    Raises:
        ValueError: If the sizes do not fit together.
    """

    model_type = "facesleuth"
    num_frames: ClassVar[int] = 2
    """Frames of a clip that it sees: onset and apex."""

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
        self.hidden_sizes = list(self.hidden_sizes or (128, 128, 256, 512))
        self.fc_hidden_sizes = list(self.fc_hidden_sizes or (512, 128))
        self.swin_depths = list(self.swin_depths or (2, 2, 6))
        self.swin_num_heads = list(self.swin_num_heads or (4, 8, 16))
        if self.attention_reduction is None:
            self.attention_reduction = REDUCTIONS.get(self.attention_type)
        if self.id2label is None and kwargs.get("num_labels") in (None, len(DEFAULT_LABELS)):
            self.id2label = dict(enumerate(DEFAULT_LABELS))
        super().__post_init__(**{"auto_map": dict(AUTO_MAP), **kwargs})
        self.label2id = self.label2id or {label: index for index, label in self.id2label.items()}

    def validate_sizes(self):
        """Check that the two branches meet on the same grid and width, and that windows tile every grid."""
        stages, sides = len(self.swin_depths), self.swin_sides
        meeting = (self.swin_patch_size * 2 ** (stages - 1), self.swin_embed_dim * 2 ** (stages - 1))
        if meeting != (STRIDE, self.hidden_sizes[-1]):
            raise ValueError(
                f"the branches must meet at {STRIDE} pixels per position and the last of hidden_sizes, "
                f"{self.hidden_sizes[-1]}: swin_patch_size={self.swin_patch_size} and swin_embed_dim="
                f"{self.swin_embed_dim}, doubled over {stages} stages, are {meeting[0]} and {meeting[1]}."
            )
        if self.image_size % STRIDE or any(side % self.swin_window_size for side in sides):
            raise ValueError(
                f"image_size must be a multiple of {STRIDE}, and swin_window_size must divide the grids of "
                f"sides {sides}, got {self.image_size} and {self.swin_window_size}."
            )
        if self.attention_type != "ca" and self.hidden_sizes[0] != self.hidden_sizes[1]:
            raise ValueError(
                f"the first two of hidden_sizes must be equal, as the gates of the first stage are passed to "
                f"the second unchanged, got {self.hidden_sizes}."
            )

    @property
    def grid_size(self) -> int:
        """Side of the last feature map, on which the two branches meet."""
        return self.image_size // STRIDE

    @property
    def swin_sides(self) -> list[int]:
        """Side of the token grid of each stage of the position branch."""
        return [self.image_size // self.swin_patch_size // 2**stage for stage in range(len(self.swin_depths))]


__all__ = ["FaceSleuthConfig"]
