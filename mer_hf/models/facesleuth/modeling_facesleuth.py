"""FaceSleuth in PyTorch: convolutions on the motion with one gate per row, a Swin on the face, action units.

The network of "A Novel Approach for Micro-Expression Recognition Incorporating Vertical Attention and
Position Localization" (OpenReview mHYkcQzdae, 2023) and of "FaceSleuth" (Wu et al., arXiv 2506.02695, 2025).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel, SwinConfig, SwinModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_facesleuth import FaceSleuthConfig

Gates = tuple[torch.Tensor, ...]

SWIN_FIELDS = ("embed_dim", "depths", "num_heads", "window_size", "patch_size", "mlp_ratio", "qkv_bias")
COMMON_FIELDS = ("image_size", "num_channels", "drop_path_rate", "layer_norm_eps")
RELEVANCE_STEPS = 4
"""Points on the way to the input at which `relevance` takes gradients."""


@dataclass
class FaceSleuthModelOutput(BaseModelOutputWithPooling):
    """Features of FaceSleuth.

    Attributes:
        last_hidden_state (`torch.Tensor` of shape `(B, C, grid, grid)`): The sum of both branches.
        pooler_output (`torch.Tensor` of shape `(B, fc_hidden_sizes[1])`): The input of the classifier, with
            the action units taken in.
        position_embedding (`torch.Tensor` of shape `(B, C, grid, grid)`): The position branch alone, the sum
            of onset and apex.
    """

    position_embedding: torch.FloatTensor | None = None


class FaceSleuthConvolution(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, width_in: int, width: int, kernel_size: int, stride: int, eps: float, bias=False):
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width, kernel_size, stride, kernel_size // 2, bias=bias)
        self.normalization = nn.BatchNorm2d(width, eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, width_in, H, W)` -> `(B, width, H / stride, W / stride)`."""
        return self.normalization(self.convolution(hidden_states))


class FaceSleuthCoordinateGate(nn.Module):
    """A gate per channel and row, from row means; with `both` another per channel and column.

    Means of rows and of columns go through one bottleneck together. Where only the rows' gate reaches the
    output (continuously vertical attention), the columns' means matter in training alone, for its batch norm.
    """

    def __init__(self, config: FaceSleuthConfig, width_in: int, width: int):
        super().__init__()
        middle = max(8, width_in // config.attention_reduction)
        self.both = config.attention_type == "coordinate"
        self.squeeze = FaceSleuthConvolution(width, middle, 1, 1, config.batch_norm_eps, bias=True)
        self.excite = nn.ModuleList(nn.Conv2d(middle, width, 1) for _ in range(1 + self.both))

    def forward(self, features: torch.Tensor) -> Gates:
        """`(B, C, H, W)` -> `(B, C, H, 1)`, with `both` also `(B, C, 1, W)`."""
        pooled = [features.mean(dim=3, keepdim=True)]
        if self.both or self.training:
            pooled.append(features.mean(dim=2, keepdim=True).transpose(2, 3))
        squeezed = nn.functional.hardswish(self.squeeze(torch.cat(pooled, dim=2)))
        rows, columns = squeezed[:, :, : features.shape[2]], squeezed[:, :, features.shape[2] :]
        gates = [self.excite[0](rows).sigmoid()]
        if self.both:
            gates.append(self.excite[1](columns.transpose(2, 3)).sigmoid())
        return tuple(gates)


class FaceSleuthOrientationGate(nn.Module):
    """A gate per channel and row, from means along lines of a learned direction."""

    def __init__(self, config: FaceSleuthConfig, width: int):
        super().__init__()
        middle = max(8, width // config.attention_reduction)
        self.direction = nn.Parameter(torch.empty(2))  # its length has no effect
        self.squeeze = nn.Conv2d(width, middle, 1, bias=False)
        self.excite = nn.Conv2d(middle, width, 1, bias=False)

    def turn(self) -> torch.Tensor:
        """Return cosine and sine of the angle, which lies in [0, 180] degrees; float32 or float64."""
        direction = self.direction.to(torch.promote_types(self.direction.dtype, torch.float32))
        unit = direction / direction.norm()
        return torch.where(unit[1] < 0, -unit, unit)

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Turn `(B, C, H, H)` by the angle, with zeros outside, and average the rows, `(B, C, H, 1)`."""
        cosine, sine = self.turn()
        zero = torch.zeros_like(cosine)
        turn = torch.stack([cosine, sine, zero, -sine, cosine, zero]).view(1, 2, 3)
        grid = nn.functional.affine_grid(
            turn.expand(features.shape[0], 2, 3), features.shape, align_corners=False
        )
        turned = nn.functional.grid_sample(features.to(grid.dtype), grid, align_corners=False)
        return turned.mean(dim=3, keepdim=True).to(features.dtype)

    def forward(self, features: torch.Tensor) -> Gates:
        """`(B, C, H, H)` -> `(B, C, H, 1)`."""
        squeezed = nn.functional.relu(self.squeeze(self.pool(features)))
        return (self.excite(squeezed).sigmoid(),)


class FaceSleuthMapGate(nn.Module):
    """One gate map for all channels, from their mean and maximum."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        self.convolution = FaceSleuthConvolution(2, 1, 1, 1, config.batch_norm_eps)

    def forward(self, features: torch.Tensor) -> Gates:
        """`(B, C, H, W)` -> `(B, 1, H, W)`."""
        pooled = [features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)]
        return (self.convolution(torch.cat(pooled, dim=1)).sigmoid(),)


class FaceSleuthStage(nn.Module):
    """A residual block whose output is gated; its gates are passed to the next stage."""

    def __init__(self, config: FaceSleuthConfig, width_in: int, width: int, stride: int):
        super().__init__()
        eps = config.batch_norm_eps
        self.convolution1 = FaceSleuthConvolution(width_in, width, 3, stride, eps)
        self.convolution2 = FaceSleuthConvolution(width, width, 1, 1, eps)
        self.shortcut = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = FaceSleuthConvolution(width_in, width, 1, stride, eps)
        if config.attention_type == "ca":
            self.gate = FaceSleuthMapGate(config)
        elif config.attention_type == "soa":
            self.gate = FaceSleuthOrientationGate(config, width)
        else:
            self.gate = FaceSleuthCoordinateGate(config, width_in, width)
        self.activation = nn.ReLU()

    def forward(self, hidden_states: torch.Tensor, carried: Gates | None) -> tuple[torch.Tensor, Gates]:
        """`(B, width_in, H, W)` and the gates carried over -> gated features and the gates."""
        features = self.convolution2(self.activation(self.convolution1(hidden_states)))
        features = self.activation(features + self.shortcut(hidden_states))
        gates = self.gate(features)
        if carried is not None:
            gates = tuple(own * before for own, before in zip(gates, carried, strict=True))
        for gate in reversed(gates):
            features = features * gate
        return features, gates


class FaceSleuthMotionBranch(nn.Module):
    """Stem and gated stages, on the difference between apex and onset."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        eps, widths = config.batch_norm_eps, [config.hidden_sizes[0], *config.hidden_sizes]
        self.stem1 = FaceSleuthConvolution(config.num_channels, config.stem_channels, 3, 2, eps)
        self.stem2 = nn.Conv2d(config.stem_channels, widths[0], 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(widths[0], eps)  # separate, as a single sample may skip it
        self.activation = nn.ReLU()
        self.stages = nn.ModuleList(
            FaceSleuthStage(config, widths[i], widths[i + 1], stride) for i, stride in enumerate((1, 2, 2, 2))
        )
        # From the gates of stages 2 and 3 to the widths of 3 and 4; one for rows and columns.
        self.projections = nn.ModuleList()
        if config.attention_type != "ca":
            self.projections.extend(nn.Conv2d(widths[i], widths[i + 1], 1, bias=False) for i in (2, 3))

    def forward(
        self, motion: torch.Tensor, single: bool, output_hidden_states: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], Gates]:
        """`(B, 3, S, S)` -> the last map, the maps of stem and stages if asked for, and all gates."""
        hidden_states = self.stem2(self.activation(self.stem1(motion)))
        hidden_states = self.activation(hidden_states if single else self.norm2(hidden_states))
        maps, attentions, gates = [hidden_states], [], None
        for i, stage in enumerate(self.stages):
            hidden_states, gates = stage(hidden_states, self._carry(gates, i))
            attentions += gates
            if output_hidden_states:
                maps.append(hidden_states)
        return hidden_states, tuple(maps) if output_hidden_states else (), tuple(attentions)

    def _carry(self, gates: Gates | None, stage: int) -> Gates | None:
        """Bring the gates of the stage before to the grid and width of this one."""
        if gates is None:
            return None
        pooled = [nn.functional.max_pool2d(gate, kernel_size=3, stride=2, padding=1) for gate in gates]
        if stage >= 2 and len(self.projections):
            pooled = [self.projections[stage - 2](gate) for gate in pooled]
        return tuple(pooled)


class FaceSleuthHead(nn.Module):
    """Two dense layers on both branches and the action units."""

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
    """Initialisation, and what transformers needs to know about FaceSleuth."""

    config: FaceSleuthConfig
    base_model_prefix = "facesleuth"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("SwinStage", "FaceSleuthStage")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # As the original: Kaiming normal (fan-out) for the convolutions behind the first, PyTorch's own for
        # the first convolution, dense layers and classifier. The position branch initialises itself.
        if isinstance(module, nn.Conv2d) and module.in_channels != self.config.num_channels:
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Conv2d | nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, FaceSleuthOrientationGate):
            angle = math.radians(self.config.soa_initial_angle)
            init.copy_(module.direction, torch.tensor([math.cos(angle), math.sin(angle)], device="cpu"))
        else:  # norms
            super()._init_weights(module)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.bias, -bound, bound)


class FaceSleuthModel(FaceSleuthPreTrainedModel):
    """FaceSleuth without its classifier: onset, apex and action units in, features out."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__(config)
        self.motion_branch = FaceSleuthMotionBranch(config)
        # Where on the face each position lies (the facial position focalizer), on single frames.
        swin = {name: getattr(config, f"swin_{name}") for name in SWIN_FIELDS}
        common = {name: getattr(config, name) for name in COMMON_FIELDS}
        swin = SwinConfig(**swin, **common, attn_implementation=config._attn_implementation)
        self.position_branch = SwinModel(swin, add_pooling_layer=False)
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
        """Compute features of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): 1 for an action unit
                that is present, 0 for one that is not, in the processor's order; by default all 0. A network
                with `num_action_units=0` ignores them.
            output_attentions (`bool`, *optional*): Return the gates of each stage: its own, in [0, 1], times
                those passed on from the stages before, which from the third stage on may be negative. Per
                stage `(B, C, H, 1)`; with `"coordinate"` attention followed by `(B, C, 1, W)`; with `"ca"`
                instead `(B, 1, H, W)`.
            output_hidden_states (`bool`, *optional*): Return the output of the stem and the gated output of
                each stage.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `FaceSleuthModelOutput`
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        size = self.config.image_size
        expected = (2, self.config.num_channels, size, size)
        if tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (B, {', '.join(map(str, expected))}), onset and apex, got "
                f"{tuple(pixel_values.shape)}. Prepare them with FaceSleuthImageProcessor(size={size}): the "
                "first dense layer has a weight for every position, so that weights fit one size only."
            )
        pixel_values = pixel_values.to(self.dtype)
        action_units = self._action_units(action_units, pixel_values)
        single = self.config.skip_batch_norm_for_single_sample and pixel_values.shape[0] == 1
        onset, apex = pixel_values.unbind(1)
        motion, maps, attentions = self.motion_branch(apex - onset, single, bool(output_hidden_states))
        tokens = self.position_branch(pixel_values.flatten(0, 1)).last_hidden_state  # (2 B, grid * grid, C)
        position = tokens.unflatten(0, (-1, 2)).sum(dim=1).transpose(1, 2).view_as(motion)
        features = motion + position
        return FaceSleuthModelOutput(
            last_hidden_state=features,
            pooler_output=self.head(features, action_units, single),
            hidden_states=maps if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
            position_embedding=position,
        )

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

    # The loss is a mean over the batch: a trainer that accumulates gradients must divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: FaceSleuthConfig):
        super().__init__(config)
        if config.num_labels == 1 and config.problem_type == "single_label_classification":
            config.problem_type = None  # it is the checkpoint's, of several classes; one number is regressed
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
        """Compute class scores of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): See
                `FaceSleuthModel.forward`.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices, which add the mean cross
                entropy as `loss`; numbers, which add the mean squared error, if `num_labels` is 1.
            output_attentions (`bool`, *optional*): See `FaceSleuthModel.forward`.
            output_hidden_states (`bool`, *optional*): See `FaceSleuthModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.facesleuth(
            pixel_values, action_units, output_attentions, output_hidden_states, return_dict=True
        )
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def attention_angles_deg(self) -> list[float]:
        """Return the learned direction of each stage, in degrees in [0, 180].

        At 0 a stage takes the means of rows, as vertical attention does, and at 90 those of columns: the
        first column's mean then gates the first row.

        Raises:
            ValueError: If the network has another attention than `"soa"`.
        """
        kind = self.config.attention_type
        if kind != "soa":
            raise ValueError(f"only attention_type='soa' has a learned direction, this network has {kind!r}.")
        turns = [stage.gate.turn().tolist() for stage in self.facesleuth.motion_branch.stages]
        return [math.degrees(math.atan2(sine, cosine)) for cosine, sine in turns]

    def relevance(
        self,
        target: int | None = None,
        *,
        pixel_values: torch.Tensor,
        action_units: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Show where the motion that speaks for a class lies, by integrated gradients from onset to apex.

        The apex is approached from the onset, where nothing has moved, and the gradients on the way times
        what has changed say what each pixel adds to the class more than to the mean of all classes
        (Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv 1703.01365). Means over a
        sixth of the side are shown where they speak for the class: single pixels are noise.
        The action units stay as they are: they have no place.

        Args:
            target (`int`, *optional*): Class index; by default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            action_units (`torch.Tensor` of shape `(B, num_action_units)`, *optional*): See
                `FaceSleuthModel.forward`.

        Returns:
            `torch.Tensor` of shape `(B, image_size / 2, image_size / 2)`: float32, not negative.

        Raises:
            ValueError: If the model is in training mode.
        """
        if self.training:
            raise ValueError("relevance needs the model in evaluation mode. Call model.eval() first.")
        # A tensor made in inference mode has no gradient, so it is cloned.
        with torch.inference_mode(False), torch.enable_grad():
            units = None if action_units is None else action_units.to(self.device, copy=True)
            clips = pixel_values.to(self.device, self.dtype, copy=True)
            evidence = self._evidence(clips, target, units)
        evidence = nn.functional.avg_pool2d(evidence[:, None], 2)
        window = 2 * (evidence.shape[-1] // 12) + 1
        for _ in range(2):  # a window that falls off towards its rim
            evidence = nn.functional.avg_pool2d(evidence, window, stride=1, padding=window // 2)
        return evidence[:, 0].clamp(min=0)

    def _evidence(self, clips: torch.Tensor, target: int | None, units: torch.Tensor | None) -> torch.Tensor:
        """Return what each pixel of the clips `(B, 2, C, S, S)` adds to the class, `(B, S, S)`."""
        answers = self(clips, units).logits.argmax(dim=1, keepdim=True)
        answers = answers if target is None else torch.full_like(answers, target)
        onset, change = clips[:, :1], clips[:, 1:] - clips[:, :1]
        gradients = []
        for step in range(RELEVANCE_STEPS):
            between = (onset + (step + 0.5) / RELEVANCE_STEPS * change).requires_grad_()
            logits = self(torch.cat([onset, between], dim=1), units).logits
            scores = logits.gather(1, answers) - logits.mean(dim=1, keepdim=True)
            gradients += torch.autograd.grad(scores.sum(), between)
        return (torch.stack(gradients).float().mean(dim=0) * change.float()).sum(dim=(1, 2))


__all__ = ["FaceSleuthForVideoClassification", "FaceSleuthModel", "FaceSleuthPreTrainedModel"]
