"""FaceSleuth in PyTorch: convolutions on the motion with one gate per row, a Swin on the face, action units.

The network of "A Novel Approach for Micro-Expression Recognition Incorporating Vertical Attention and
Position Localization" (OpenReview mHYkcQzdae, 2023) and of "FaceSleuth" (Wu et al., arXiv 2506.02695, 2025).
In evaluation batch norms are folded into the convolutions before them, gates that reach no output are not
computed, and on a CPU a large batch goes through the two branches a sample at a time, so that what lies
between their layers stays in the processor's cache; none of this changes the result beyond rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_facesleuth import FaceSleuthConfig
from .swin_facesleuth import (
    FaceSleuthLinear,
    FaceSleuthPositionBranch,
    FaceSleuthTable,
    FaceSleuthWindowAttention,
)

SAMPLES_AT_ONCE = 1
"""Samples that go through the two branches together on a CPU."""

Gates = tuple[torch.Tensor, ...]


@dataclass
class FaceSleuthModelOutput(BaseModelOutputWithPooling):
    """Features of FaceSleuth.

    Attributes:
        last_hidden_state (`torch.Tensor` of shape `(B, C, grid, grid)`): Both branches added.
        pooler_output (`torch.Tensor` of shape `(B, fc_hidden_sizes[1])`): What the classifier sees, action
            units included.
        position_embedding (`torch.Tensor` of shape `(B, C, grid, grid)`): The position branch alone, onset
            and apex added.
    """

    position_embedding: torch.FloatTensor | None = None


class FaceSleuthConvolution(nn.Module):
    """A convolution and its batch norm, one convolution with bias in evaluation."""

    def __init__(self, width_in: int, width: int, kernel_size: int, stride: int, eps: float, bias=False):
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width, kernel_size, stride, kernel_size // 2, bias=bias)
        self.normalization = nn.BatchNorm2d(width, eps)

    def forward(self, hidden_states: torch.Tensor, skip_normalization: bool = False) -> torch.Tensor:
        """`(B, width_in, H, W)` -> `(B, width, H / stride, W / stride)`."""
        norm, convolution = self.normalization, self.convolution
        if skip_normalization:
            return convolution(hidden_states)
        if self.training:
            return norm(convolution(hidden_states))
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = convolution.weight * scale[:, None, None, None]
        mean = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
        bias = norm.bias - mean * scale
        return nn.functional.conv2d(hidden_states, weight, bias, convolution.stride, convolution.padding)


class FaceSleuthCoordinateGate(nn.Module):
    """A gate per channel and row, from row means; with `both` another per channel and column.

    Means of rows and of columns go through one bottleneck together. Where only the rows' gate reaches the
    output (continuously vertical attention) the columns' means matter in training alone, for its batch norm.
    """

    def __init__(self, config: FaceSleuthConfig, width_in: int, width: int):
        super().__init__()
        middle = max(8, width_in // config.attention_reduction)
        self.both = config.attention_type == "coordinate"
        self.squeeze = FaceSleuthConvolution(width, middle, 1, 1, config.batch_norm_eps, bias=True)
        self.excite = nn.ModuleList(nn.Conv2d(middle, width, 1) for _ in range(1 + self.both))

    def forward(self, features: torch.Tensor, carried: Gates | None) -> Gates:
        """`(B, C, H, W)` and the gates carried over -> `(B, C, H, 1)`, with `both` also `(B, C, 1, W)`."""
        pooled = [features.mean(dim=3, keepdim=True)]
        if self.both or self.training:
            pooled.append(features.mean(dim=2, keepdim=True).transpose(2, 3))
        squeezed = nn.functional.hardswish(self.squeeze(torch.cat(pooled, dim=2)))
        parts = squeezed.split([each.shape[2] for each in pooled], dim=2)
        gates = [self.excite[0](parts[0]).sigmoid()]
        if self.both:
            gates.append(self.excite[1](parts[1].transpose(2, 3)).sigmoid())
        return _times(gates, carried)


class FaceSleuthOrientationGate(nn.Module):
    """A gate per channel and row, from means along lines of a learned direction.

    The means of a picture turned by the angle, read bilinearly with zeros outside, are a linear map of its
    pixels: one small matrix for all channels and samples.
    """

    def __init__(self, config: FaceSleuthConfig, width: int):
        super().__init__()
        middle = max(8, width // config.attention_reduction)
        self.direction = nn.Parameter(torch.empty(2))  # its length is without effect
        self.squeeze = nn.Conv2d(width, middle, 1, bias=False)
        self.excite = nn.Conv2d(middle, width, 1, bias=False)

    def turn(self) -> torch.Tensor:
        """Cosine and sine of the angle, which lies in [0, 180] degrees; float32 or float64."""
        direction = self.direction.to(torch.promote_types(self.direction.dtype, torch.float32))
        unit = direction / direction.norm()
        return torch.where(unit[1] < 0, -unit, unit)

    def pooling_matrix(self, side: int) -> torch.Tensor:
        """Weight of every pixel in every mean, `(side, side * side)`."""
        turn = self.turn()
        cosine, sine = turn[0], turn[1]
        place = torch.arange(side, device=turn.device, dtype=turn.dtype) - (side - 1) / 2  # 0 is the middle
        row = -sine * place + cosine * place[:, None] + (side - 1) / 2  # (i, j): where output (i, j) reads
        column = cosine * place + sine * place[:, None] + (side - 1) / 2
        first_row, first_column = row.detach().floor(), column.detach().floor()
        weights, indices = [], []
        for down in (0, 1):
            for right in (0, 1):
                y, x = first_row + down, first_column + right
                weight = (1 - (row - y).abs()) * (1 - (column - x).abs())
                inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
                weights.append(torch.where(inside, weight, 0.0))
                indices.append((y * side + x).clamp(0, side * side - 1).long())
        matrix = torch.zeros(side, side * side, device=turn.device, dtype=turn.dtype)
        return matrix.scatter_add(1, torch.cat(indices, dim=1), torch.cat(weights, dim=1)) / side

    def forward(self, features: torch.Tensor, carried: Gates | None) -> Gates:
        """`(B, C, H, H)` and the gate carried over -> `(B, C, H, 1)`."""
        matrix = self.pooling_matrix(features.shape[2]).to(features.dtype)
        pooled = torch.matmul(matrix, features.permute(0, 2, 3, 1).flatten(1, 2))  # (B, H, C)
        squeezed = nn.functional.relu(self.squeeze(pooled.transpose(1, 2).unsqueeze(3)))
        return _times([self.excite(squeezed).sigmoid()], carried)


class FaceSleuthMapGate(nn.Module):
    """One gate map for all channels, from their mean and maximum."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        self.convolution = FaceSleuthConvolution(2, 1, 1, 1, config.batch_norm_eps)

    def forward(self, features: torch.Tensor, carried: Gates | None) -> Gates:
        """`(B, C, H, W)` and the map carried over -> `(B, 1, H, W)`."""
        pooled = [features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)]
        return _times([self.convolution(torch.cat(pooled, dim=1)).sigmoid()], carried)


def _times(gates: list[torch.Tensor], carried: Gates | None) -> Gates:
    """A stage's own gates times those of the stages before."""
    if carried is None:
        return tuple(gates)
    return tuple(own * before for own, before in zip(gates, carried, strict=True))


class FaceSleuthStage(nn.Module):
    """A residual block whose output is gated; its gates are handed on to the next stage."""

    def __init__(self, config: FaceSleuthConfig, width_in: int, width: int, stride: int):
        super().__init__()
        eps = config.batch_norm_eps
        self.convolution1 = FaceSleuthConvolution(width_in, width, 3, stride, eps)
        self.convolution2 = FaceSleuthConvolution(width, width, 1, 1, eps)
        self.shortcut = None
        if stride != 1 or width_in != width:
            self.shortcut = FaceSleuthConvolution(width_in, width, 1, stride, eps)
        if config.attention_type == "ca":
            self.gate = FaceSleuthMapGate(config)
        elif config.attention_type == "soa":
            self.gate = FaceSleuthOrientationGate(config, width)
        else:
            self.gate = FaceSleuthCoordinateGate(config, width_in, width)

    def forward(self, hidden_states: torch.Tensor, carried: Gates | None) -> tuple[torch.Tensor, Gates]:
        """`(B, width_in, H, W)` and the gates carried over -> gated features and the gates."""
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        # In place where autograd needs no copy: a convolution does not keep its output.
        features = nn.functional.relu(self.convolution1(hidden_states), inplace=True)
        features = self.convolution2(features).add_(residual).relu_()
        gates = self.gate(features, carried)
        for gate in reversed(gates):
            features = features * gate if torch.is_grad_enabled() else features.mul_(gate)
        return features, gates


class FaceSleuthMotionBranch(nn.Module):
    """Stem and gated stages, on the difference between apex and onset."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        eps, widths = config.batch_norm_eps, [config.hidden_sizes[0], *config.hidden_sizes]
        self.stem = nn.ModuleList(
            [
                FaceSleuthConvolution(config.num_channels, config.stem_channels, 3, 2, eps),
                FaceSleuthConvolution(config.stem_channels, widths[0], 3, 1, eps),
            ]
        )
        self.stages = nn.ModuleList(
            FaceSleuthStage(config, widths[i], widths[i + 1], stride) for i, stride in enumerate((1, 2, 2, 2))
        )
        # From the gates of stages 2 and 3 to the widths of 3 and 4; one for rows and columns.
        self.projections = nn.ModuleList()
        if config.attention_type != "ca":
            self.projections.extend(nn.Conv2d(widths[i], widths[i + 1], 1, bias=False) for i in (2, 3))

    def forward(
        self, motion: torch.Tensor, single: bool, keep: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """`(B, 3, S, S)` -> maps of the stem and each stage (or the last alone), gates of all stages."""
        hidden_states = motion.contiguous(memory_format=torch.channels_last)
        hidden_states = nn.functional.relu(self.stem[0](hidden_states), inplace=True)
        hidden_states = nn.functional.relu(self.stem[1](hidden_states, skip_normalization=single))
        maps, attentions, gates = [hidden_states], [], None
        for i, stage in enumerate(self.stages):
            hidden_states, gates = stage(hidden_states, self._carry(gates, i))
            maps = [*maps, hidden_states] if keep else [hidden_states]
            attentions += gates
        return maps, attentions

    def _carry(self, gates: Gates | None, stage: int) -> Gates | None:
        """The gates of the stage before on the grid and width of this one."""
        if gates is None:
            return None
        pooled = [nn.functional.max_pool2d(gate, kernel_size=3, stride=2, padding=1) for gate in gates]
        if stage < 2 or not len(self.projections):
            return tuple(pooled)
        return tuple(self.projections[stage - 2](gate) for gate in pooled)


class FaceSleuthHead(nn.Module):
    """Both branches and the action units together: two dense layers."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        first, second = config.fc_hidden_sizes
        joined = first + config.num_action_units
        self.fc1 = nn.Linear(config.hidden_sizes[-1] * config.grid_size**2, first)
        self.norm1 = nn.BatchNorm1d(joined, config.batch_norm_eps)
        self.fc2 = nn.Linear(joined, second)
        self.norm2 = nn.BatchNorm1d(second, config.batch_norm_eps)

    def forward(
        self, features: torch.Tensor, action_units: torch.Tensor | None, single: bool
    ) -> torch.Tensor:
        """`(B, C, grid, grid)` and `(B, num_action_units)` -> `(B, fc_hidden_sizes[1])`."""
        hidden_states = self.fc1(features.flatten(1))
        if action_units is not None:
            hidden_states = torch.cat([hidden_states, action_units], dim=1)
        hidden_states = hidden_states if single else self.norm1(hidden_states)
        hidden_states = self.fc2(nn.functional.relu(hidden_states))
        return hidden_states if single else self.norm2(hidden_states)


class FaceSleuthPreTrainedModel(PreTrainedModel):
    """Initialisation, saving, and what transformers needs to know of FaceSleuth."""

    config: FaceSleuthConfig
    config_class = FaceSleuthConfig
    base_model_prefix = "facesleuth"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("FaceSleuthSwinLayer", "FaceSleuthStage")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # As the original: Kaiming normal (fan-out) for the convolutions behind the first, truncated normal in
        # the position branch, PyTorch's own for the first convolution, patches, dense layers and classifier.
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if not isinstance(module, nn.LayerNorm):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Conv2d):
            if module.in_channels == self.config.num_channels:
                init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            else:
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                self._init_uniform(module.bias, module.in_channels)
        elif isinstance(module, FaceSleuthLinear):
            init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            self._init_uniform(module.weight, module.in_features)
            self._init_uniform(module.bias, module.in_features)
        elif isinstance(module, FaceSleuthPositionBranch):
            self._init_uniform(module.projection.weight, module.projection.in_features)
            self._init_uniform(module.projection.bias, module.projection.in_features)
        elif isinstance(module, FaceSleuthWindowAttention):
            init.trunc_normal_(module.relative_position_bias_table, std=0.02)
        elif isinstance(module, FaceSleuthOrientationGate):
            angle = math.radians(self.config.soa_initial_angle)
            init.copy_(module.direction, torch.tensor([math.cos(angle), math.sin(angle)], device="cpu"))
        elif isinstance(module, FaceSleuthTable):
            init.copy_(module.values, module.make())

    @staticmethod
    def _init_uniform(tensor: torch.Tensor, fan_in: int) -> None:
        """As PyTorch fills a layer by itself."""
        init.uniform_(tensor, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load as every transformers model; weights on the CPU are moved to aligned memory.

        A mapped file puts them at any address, and from an unaligned one products with a single sample round
        differently: a model saved and loaded would not give the same logits bit for bit.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for parameter in model.parameters():
            if parameter.device.type == "cpu" and parameter.data_ptr() % 64:
                parameter.data = parameter.data.clone()
        return loaded

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save as every transformers model; the `auto_map` names both classes, whichever is saved."""
        self.config.auto_map = {
            "AutoConfig": "configuration_facesleuth.FaceSleuthConfig",
            "AutoModel": "modeling_facesleuth.FaceSleuthModel",
            "AutoModelForVideoClassification": "modeling_facesleuth.FaceSleuthForVideoClassification",
        }
        return super().save_pretrained(save_directory, *args, **kwargs)


class FaceSleuthModel(FaceSleuthPreTrainedModel):
    """FaceSleuth without its classifier: onset, apex and action units in, features out."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__(config)
        self.motion_branch = FaceSleuthMotionBranch(config)
        self.position_branch = FaceSleuthPositionBranch(config)
        self.head = FaceSleuthHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        action_units: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> FaceSleuthModelOutput:
        """Features of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): 1 for an action unit
                that is present, 0 for one that is not, in the processor's order; by default all 0. Without
                effect on a network with `num_action_units=0`.
            output_attentions (`bool`, *optional*): Return the gates of each stage: its own, in [0, 1], times
                those handed on from the stages before, which from the third stage on may be negative. Per
                stage `(B, C, H, 1)`; with `"coordinate"` attention followed by `(B, C, 1, W)`; with `"ca"`
                instead `(B, 1, H, W)`.
            output_hidden_states (`bool`, *optional*): Return the output of the stem and of each stage, gated.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `FaceSleuthModelOutput`
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        pixel_values = self._frames(pixel_values)
        action_units = self._action_units(action_units, pixel_values)
        single = self.config.skip_batch_norm_for_single_sample and pixel_values.shape[0] == 1
        position, maps, attentions = self._in_chunks(pixel_values, single, bool(output_hidden_states))
        features = maps[-1] + position
        return FaceSleuthModelOutput(
            last_hidden_state=features,
            pooler_output=self.head(features, action_units, single),
            hidden_states=tuple(maps) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
            position_embedding=position,
        )

    def _in_chunks(self, pixel_values: torch.Tensor, single: bool, keep: bool):
        """Both branches, a sample at a time where that is quicker and changes nothing."""
        whole = torch.is_grad_enabled() or self.training or torch.compiler.is_compiling()
        if whole or pixel_values.device.type != "cpu" or len(pixel_values) <= SAMPLES_AT_ONCE:
            return self._branches(pixel_values, single, keep)
        parts = [self._branches(part, single, keep) for part in pixel_values.split(SAMPLES_AT_ONCE)]
        position, maps, attentions = zip(*parts, strict=True)
        joined = [[torch.cat(each) for each in zip(*lists, strict=True)] for lists in (maps, attentions)]
        return torch.cat(position), *joined

    def _branches(self, pixel_values: torch.Tensor, single: bool, keep: bool):
        """Position embedding `(B, C, grid, grid)`, maps and gates of the motion branch."""
        both = self.position_branch(pixel_values.flatten(0, 1)).unflatten(0, (-1, 2))
        onset, apex = pixel_values.unbind(1)
        return both.sum(dim=1), *self.motion_branch(apex - onset, single, keep)

    def _frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        size = self.config.image_size
        expected = (2, self.config.num_channels, size, size)
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (B, {', '.join(map(str, expected))}), onset and apex, got "
                f"{tuple(pixel_values.shape)}. Prepare them with FaceSleuthImageProcessor(size={size}); the "
                "first dense layer weighs every position, so that weights fit one size only."
            )
        return pixel_values.to(self.dtype)

    def _action_units(self, action_units: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
        count = self.config.num_action_units
        if not count:
            return None
        if action_units is None:
            return like.new_zeros(like.shape[0], count)
        if action_units.ndim != 2 or action_units.shape[1] != count or action_units.shape[0] != like.shape[0]:
            raise ValueError(
                f"expected action_units of shape {(like.shape[0], count)}, one row per pair of frames, got "
                f"{tuple(action_units.shape)}. Prepare them with FaceSleuthImageProcessor, or leave them out."
            )
        return action_units.to(like.dtype)


class FaceSleuthForVideoClassification(FaceSleuthPreTrainedModel):
    """FaceSleuth with its linear classifier: onset, apex and action units in, class scores out."""

    # The loss is a mean over the batch: a trainer that accumulates gradients has to divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: FaceSleuthConfig):
        super().__init__(config)
        self.facesleuth = FaceSleuthModel(config)
        self.classifier = nn.Linear(config.fc_hidden_sizes[1], config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        action_units: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """Class scores of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): See
                `FaceSleuthModel.forward`.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices; given, the result has the mean
                cross entropy as `loss`.
            output_attentions (`bool`, *optional*): See `FaceSleuthModel.forward`.
            output_hidden_states (`bool`, *optional*): See `FaceSleuthModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.facesleuth(
            pixel_values,
            action_units,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def attention_angles_deg(self) -> list[float]:
        """The learned direction of each stage, in degrees in [0, 180].

        At 0 a stage takes the means of rows, as vertical attention does; at 90 those of columns, from top to
        bottom of the list of rows that they gate.

        Raises:
            ValueError: If the network has another attention than `"soa"`.
        """
        if self.config.attention_type != "soa":
            raise ValueError(
                f"only attention_type='soa' has a learned direction, this network has "
                f"{self.config.attention_type!r}."
            )
        turns = [stage.gate.turn().tolist() for stage in self.facesleuth.motion_branch.stages]
        return [math.degrees(math.atan2(sine, cosine)) for cosine, sine in turns]

    def relevance(
        self,
        target: int | list[int] | torch.Tensor | None = None,
        *,
        pixel_values: torch.Tensor,
        action_units: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Where the motion that speaks for a class lies, by the gates and by gradients.

        The vertical gates (and those of a learned direction) say which rows count and nothing about the
        position in a row, and none of the gates knows a class. So the gates enter through the gated features
        of each stage, in which a row that attention closes is empty, and position and class come from
        gradients of what speaks for the target more than for the mean of all classes. What each position of
        the last stage gives to the target, gradient times value, is spread over finer and finer grids in
        proportion to the features of the stages before, each channel weighed by its mean gradient and the
        channels that speak against the target left out. The position branch sees each face at rest and is
        left out, and so are the action units, which have no place.

        Args:
            target (`int`, `list[int]` or `torch.Tensor` of shape `(B,)`, *optional*): Class indices; by
                default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): Given to the network.

        Returns:
            `torch.Tensor` of shape `(B, image_size / 2, image_size / 2)`: float32, not negative.

        Raises:
            ValueError: If a target is no class index.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            # A tensor made in inference mode has no gradient: clone it.
            with torch.inference_mode(False), torch.enable_grad():
                given = None if action_units is None else action_units.to(self.device).clone()
                outputs = self.facesleuth(
                    pixel_values.to(self.device).clone(), given, output_hidden_states=True, return_dict=True
                )
                logits = self.classifier(outputs.pooler_output)
                target = self._target_of(logits, target)
                margin = logits.gather(1, target[:, None])[:, 0] - logits.mean(dim=1)
                maps = outputs.hidden_states[1:]
                gradients = torch.autograd.grad(margin.sum(), maps)
        finally:
            for module, mode in modes:
                module.training = mode
        *fine, last = [
            (gradient.float(), values.detach().float())
            for gradient, values in zip(gradients, maps, strict=True)
        ]
        # Close to the input the gradient of a single position is noise: its mean over the map is not.
        fine = [(gradient.mean(dim=(2, 3), keepdim=True) * values).clamp(min=0) for gradient, values in fine]
        evidence = (last[0] * last[1]).sum(dim=1, keepdim=True).clamp(min=0)
        return self._refine(evidence, [each.sum(dim=1, keepdim=True) for each in fine])[:, 0]

    def _refine(self, evidence: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
        """Spread `(B, 1, h, w)` over finer grids, the last of `maps` first, in proportion to each."""
        for fine in reversed(maps):
            here = nn.functional.avg_pool2d(fine, 3, stride=1, padding=1)
            around = nn.functional.avg_pool2d(here, 9, stride=1, padding=4)
            share = here / around.clamp(min=torch.finfo(around.dtype).tiny)
            evidence = nn.functional.interpolate(evidence, fine.shape[-2:], mode="bilinear") * share
        return evidence

    def _target_of(self, logits: torch.Tensor, target: int | list[int] | torch.Tensor | None) -> torch.Tensor:
        if target is None:
            return logits.argmax(-1)
        target = torch.as_tensor(target, device=logits.device).reshape(-1)
        if target.dtype.is_floating_point or target.numel() not in (1, len(logits)):
            raise ValueError(
                f"target must be one class index, or {len(logits)} of them, got {target.tolist()}."
            )
        if target.min() < 0 or target.max() >= logits.shape[1]:
            raise ValueError(f"target must lie in 0 to {logits.shape[1] - 1}, got {target.tolist()}.")
        return target.long().expand(len(logits))


__all__ = ["FaceSleuthForVideoClassification", "FaceSleuthModel", "FaceSleuthPreTrainedModel"]
