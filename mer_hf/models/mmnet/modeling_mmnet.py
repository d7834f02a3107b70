"""MMNet in PyTorch: gated convolutions on the motion, a small transformer on the face at rest.

The network of Li et al., "MMNet: Muscle Motion-Guided Network for Micro-Expression Recognition" (arXiv
2201.05297, 2022).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple

from .configuration_mmnet import MMNetConfig

RELEVANCE_STEPS = 4
"""Points on the way to the input at which `relevance` takes gradients."""


@dataclass
class MMNetModelOutput(BaseModelOutputWithPooling):
    """Features of MMNet.

    Attributes:
        last_hidden_state (`torch.Tensor` of shape `(B, C, grid, grid)`): The sum of both branches.
        pooler_output (`torch.Tensor` of shape `(B, C * grid * grid)`): The same flattened, the input of the
            classifier.
        position_embedding (`torch.Tensor` of shape `(B, C, grid, grid)`): The position branch alone.
    """

    position_embedding: torch.FloatTensor | None = None


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attend step by step; arguments and results are those of `ALL_ATTENTION_FUNCTIONS`."""
    weights = nn.functional.softmax(torch.matmul(query, key.transpose(-1, -2)) * scaling, dim=-1)
    return torch.matmul(weights, value).transpose(1, 2), weights


class MMNetConvolution(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, width_in: int, width: int, kernel_size: int, stride: int, eps: float):
        super().__init__()
        padding = kernel_size // 2
        self.convolution = nn.Conv2d(width_in, width, kernel_size, stride, padding, bias=False)
        self.normalization = nn.BatchNorm2d(width, eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, width_in, H, W)` -> `(B, width, H / stride, W / stride)`."""
        return self.normalization(self.convolution(hidden_states))


class MMNetAttentionBlock(nn.Module):
    """A residual block whose output is gated by one attention map, which is passed to the next block."""

    def __init__(self, width_in: int, width: int, stride: int, eps: float):
        super().__init__()
        self.convolution1 = MMNetConvolution(width_in, width, 3, stride, eps)
        self.convolution2 = MMNetConvolution(width, width, 1, 1, eps)
        self.shortcut = nn.Identity()
        if stride != 1 or width_in != width:
            self.shortcut = MMNetConvolution(width_in, width, 1, stride, eps)
        self.gate = MMNetConvolution(2, 1, 1, 1, eps)
        self.activation = nn.ReLU()

    def forward(
        self, hidden_states: torch.Tensor, previous: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and the map of the block before -> gated features and the map `(B, 1, H, W)`."""
        features = self.convolution2(self.activation(self.convolution1(hidden_states)))
        features = self.activation(features + self.shortcut(hidden_states))
        pooled = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        attention = self.gate(pooled).sigmoid()
        if previous is not None:
            attention = attention * nn.functional.max_pool2d(previous, kernel_size=3, stride=2, padding=1)
        return features * attention, attention


class MMNetMotionBranch(nn.Module):
    """Stem and attention blocks, on the difference between apex and onset."""

    def __init__(self, config: MMNetConfig):
        super().__init__()
        eps, (first, second) = config.batch_norm_eps, config.stem_channels
        self.stem = nn.ModuleList([MMNetConvolution(config.num_channels, first, 3, 2, eps)])
        self.stem.append(MMNetConvolution(first, second, 3, 1, eps))
        self.activation = nn.ReLU()
        widths = [second, *config.hidden_sizes]
        self.blocks = nn.ModuleList(
            MMNetAttentionBlock(widths[i], widths[i + 1], stride, eps)
            for i, stride in enumerate(config.strides)
        )

    def forward(
        self, motion: torch.Tensor, output_hidden_states: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """`(B, 3, S, S)` -> the last map, the maps of stem and blocks if asked for, the attention maps."""
        hidden_states = motion
        for convolution in self.stem:
            hidden_states = self.activation(convolution(hidden_states))
        maps, attentions, attention = [hidden_states], [], None
        for block in self.blocks:
            hidden_states, attention = block(hidden_states, attention)
            attentions.append(attention)
            if output_hidden_states:
                maps.append(hidden_states)
        return hidden_states, tuple(maps) if output_hidden_states else (), tuple(attentions)


class MMNetAttention(nn.Module):
    """Self attention over the positions of the reduced onset frame."""

    def __init__(self, config: MMNetConfig):
        super().__init__()
        self.config = config
        width = config.hidden_sizes[-1]
        self.num_heads = config.num_attention_heads
        self.scaling = (width // self.num_heads) ** -0.5
        self.is_causal = False
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same shape."""
        qkv = self.qkv(hidden_states).unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_size)
        implementation = self.config._attn_implementation
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        context, _ = attention(self, query, key, value, None, scaling=self.scaling, dropout=0.0)
        return self.projection(context.flatten(2))


class MMNetMLP(nn.Module):
    """The feed-forward half of a layer."""

    def __init__(self, config: MMNetConfig):
        super().__init__()
        width = config.hidden_sizes[-1]
        inner = round(width * config.mlp_ratio)
        self.fc1, self.activation = nn.Linear(width, inner), ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(inner, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same shape."""
        return self.fc2(self.activation(self.fc1(hidden_states)))


class MMNetLayer(GradientCheckpointingLayer):
    """One transformer layer, norms first."""

    def __init__(self, config: MMNetConfig, drop_path_rate: float):
        super().__init__()
        width = config.hidden_sizes[-1]
        self.norm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = MMNetAttention(config)
        self.norm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MMNetMLP(config)
        self.drop_path_rate = drop_path_rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same shape."""
        hidden_states = hidden_states + self.drop_path(self.attention(self.norm_before(hidden_states)))
        return hidden_states + self.drop_path(self.mlp(self.norm_after(hidden_states)))

    def drop_path(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Drop some samples of `(B, N, C)` in training and scale up the others: stochastic depth."""
        rate = self.drop_path_rate
        if not (self.training and rate):
            return hidden_states
        kept = torch.rand((hidden_states.shape[0], 1, 1), device=hidden_states.device) >= rate
        return hidden_states * kept.to(hidden_states.dtype) / (1 - rate)


class MMNetPositionBranch(nn.Module):
    """Where on the face each position lies: a transformer on the onset frame, reduced to the last grid."""

    def __init__(self, config: MMNetConfig):
        super().__init__()
        width, layers = config.hidden_sizes[-1], config.num_hidden_layers
        self.grid_size, self.antialias = config.grid_size, config.resize_antialias
        self.projection = nn.Linear(config.num_channels, width)
        self.position_embedding = nn.Parameter(torch.empty(1, self.grid_size**2, width))
        rates = torch.linspace(0, config.drop_path_rate, layers, device="cpu").tolist()
        self.layers = nn.ModuleList(MMNetLayer(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def reduce(self, onset: torch.Tensor) -> torch.Tensor:
        """Reduce `(B, 3, S, S)` to `(B, 3, grid, grid)`."""
        size = (self.grid_size, self.grid_size)
        return nn.functional.interpolate(onset, size, mode="bilinear", antialias=self.antialias)

    def forward(self, onset: torch.Tensor) -> torch.Tensor:
        """`(B, 3, S, S)` -> `(B, C, grid, grid)`."""
        small = self.reduce(onset).flatten(2).transpose(1, 2)  # (B, N, 3), rows first
        hidden_states = self.projection(small) + self.position_embedding
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return self.norm(hidden_states).transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))


class MMNetPreTrainedModel(PreTrainedModel):
    """Initialisation, and what transformers needs to know about MMNet."""

    config: MMNetConfig
    base_model_prefix = "mmnet"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("MMNetLayer", "MMNetAttentionBlock")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # As the original: Kaiming normal (fan-out) behind the first stem convolution, truncated normal in the
        # transformer, PyTorch's own for the first convolution, the pixel projection and the classifier.
        if isinstance(module, nn.Conv2d) and module.in_channels == self.config.num_channels:
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif module is getattr(self, "classifier", None):
            self._init_as_pytorch(module)
        elif isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, MMNetPositionBranch):
            self._init_as_pytorch(module.projection)
            init.trunc_normal_(module.position_embedding, std=0.02)
        else:  # norms
            super()._init_weights(module)

    @staticmethod
    def _init_as_pytorch(linear: nn.Linear) -> None:
        bound = 1 / math.sqrt(linear.in_features)
        init.uniform_(linear.weight, -bound, bound)
        init.uniform_(linear.bias, -bound, bound)


class MMNetModel(MMNetPreTrainedModel):
    """MMNet without its classifier: onset and apex in, features out."""

    def __init__(self, config: MMNetConfig):
        super().__init__(config)
        self.motion_branch = MMNetMotionBranch(config)
        self.position_branch = MMNetPositionBranch(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> MMNetModelOutput:
        """Compute features of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            output_attentions (`bool`, *optional*): Return the continuous-attention map of each block, `(B, 1,
                H, W)` in [0, 1], finest first: the block's own gate times the pooled gates of all blocks
                before it.
            output_hidden_states (`bool`, *optional*): Return the output of the stem and the gated output of
                each block.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `MMNetModelOutput`
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
                f"{tuple(pixel_values.shape)}. Prepare them with MMNetImageProcessor(size={size}): the "
                "classifier has a weight for every position, so that weights fit one size only."
            )
        onset, apex = pixel_values.to(self.dtype).unbind(1)
        features, maps, attentions = self.motion_branch(apex - onset, bool(output_hidden_states))
        position_embedding = self.position_branch(onset)
        features = features + position_embedding
        return MMNetModelOutput(
            last_hidden_state=features,
            pooler_output=features.flatten(1),
            hidden_states=maps if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
            position_embedding=position_embedding,
        )


class MMNetForVideoClassification(MMNetPreTrainedModel):
    """MMNet with its linear classifier: onset and apex in, class scores out."""

    # The loss is a mean over the batch: a trainer that accumulates gradients must divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: MMNetConfig):
        super().__init__(config)
        if config.num_labels == 1 and config.problem_type == "single_label_classification":
            config.problem_type = None  # it is the checkpoint's, of several classes; one number is regressed
        self.mmnet = MMNetModel(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1] * config.grid_size**2, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """Compute class scores of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices, which add the mean cross
                entropy as `loss`; numbers, which add the mean squared error, if `num_labels` is 1.
            output_attentions (`bool`, *optional*): See `MMNetModel.forward`.
            output_hidden_states (`bool`, *optional*): See `MMNetModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.mmnet(pixel_values, output_attentions, output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def relevance(self, target: int | None = None, *, pixel_values: torch.Tensor) -> torch.Tensor:
        """Show where the motion that speaks for a class lies, by integrated gradients from onset to apex.

        The apex is approached from the onset, where nothing has moved, and the gradients on the way times
        what has changed say what each pixel adds to the class more than to the mean of all classes
        (Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv 1703.01365). Means over a
        sixth of the side are shown where they speak for the class: single pixels are noise.

        Args:
            target (`int`, *optional*): Class index; by default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.

        Returns:
            `torch.Tensor` of shape `(B, image_size / 2, image_size / 2)`: float32, not negative.

        Raises:
            ValueError: If the model is in training mode.
        """
        if self.training:
            raise ValueError("relevance needs the model in evaluation mode. Call model.eval() first.")
        # A tensor made in inference mode has no gradient, so it is cloned.
        with torch.inference_mode(False), torch.enable_grad():
            evidence = self._evidence(pixel_values.to(self.device, self.dtype, copy=True), target)
        evidence = nn.functional.avg_pool2d(evidence[:, None], 2)
        window = 2 * (evidence.shape[-1] // 12) + 1
        for _ in range(2):  # a window that falls off towards its rim
            evidence = nn.functional.avg_pool2d(evidence, window, stride=1, padding=window // 2)
        return evidence[:, 0].clamp(min=0)

    def _evidence(self, clips: torch.Tensor, target: int | None) -> torch.Tensor:
        """Return what each pixel of the clips `(B, 2, C, S, S)` adds to the class, `(B, S, S)`."""
        answers = self(clips).logits.argmax(dim=1, keepdim=True)
        answers = answers if target is None else torch.full_like(answers, target)
        onset, change = clips[:, :1], clips[:, 1:] - clips[:, :1]
        gradients = []
        for step in range(RELEVANCE_STEPS):
            between = (onset + (step + 0.5) / RELEVANCE_STEPS * change).requires_grad_()
            logits = self(torch.cat([onset, between], dim=1)).logits
            scores = logits.gather(1, answers) - logits.mean(dim=1, keepdim=True)
            gradients += torch.autograd.grad(scores.sum(), between)
        return (torch.stack(gradients).float().mean(dim=0) * change.float()).sum(dim=(1, 2))


__all__ = ["MMNetForVideoClassification", "MMNetModel", "MMNetModelOutput", "MMNetPreTrainedModel"]
