"""MMNet in PyTorch: gated convolutions on the motion, a small transformer on the face at rest.

The network of Li et al., "MMNet: Muscle Motion-Guided Network for Micro-Expression Recognition" (arXiv
2201.05297, 2022). In evaluation batch norms are folded into the convolutions before them and a large batch
goes through the convolutions a few samples at a time, so that what lies between them stays in the processor's
cache; neither changes the result beyond rounding.
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

SAMPLES_AT_ONCE = 2
"""Samples that go through the convolutions together on a CPU."""


@dataclass
class MMNetModelOutput(BaseModelOutputWithPooling):
    """Features of MMNet.

    Attributes:
        last_hidden_state (`torch.Tensor` of shape `(B, C, grid, grid)`): Both branches added.
        pooler_output (`torch.Tensor` of shape `(B, C * grid * grid)`): The same flattened, which is what the
            classifier weighs.
        position_embedding (`torch.Tensor` of shape `(B, C, grid, grid)`): The position branch alone.
    """

    position_embedding: torch.FloatTensor | None = None


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention written out, for its weights; arguments and results as in `ALL_ATTENTION_FUNCTIONS`."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    weights = nn.functional.softmax(weights, dim=-1)
    output = torch.matmul(nn.functional.dropout(weights, p=dropout, training=module.training), value)
    return output.transpose(1, 2), weights


class MMNetConvolution(nn.Module):
    """A convolution without bias and its batch norm, one convolution with bias in evaluation."""

    def __init__(self, width_in: int, width: int, kernel_size: int, stride: int, eps: float):
        super().__init__()
        padding = kernel_size // 2
        self.convolution = nn.Conv2d(width_in, width, kernel_size, stride, padding, bias=False)
        self.normalization = nn.BatchNorm2d(width, eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, width_in, H, W)` -> `(B, width, H / stride, W / stride)`."""
        norm, convolution = self.normalization, self.convolution
        if self.training:
            return norm(convolution(hidden_states))
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        return nn.functional.conv2d(hidden_states, weight, bias, convolution.stride, convolution.padding)


class MMNetAttentionBlock(nn.Module):
    """A residual block whose output is gated by one map; the map is handed on to the next block."""

    def __init__(self, width_in: int, width: int, stride: int, eps: float):
        super().__init__()
        self.convolution1 = MMNetConvolution(width_in, width, 3, stride, eps)
        self.convolution2 = MMNetConvolution(width, width, 1, 1, eps)
        self.shortcut = None
        if stride != 1 or width_in != width:
            self.shortcut = MMNetConvolution(width_in, width, 1, stride, eps)
        self.gate = MMNetConvolution(2, 1, 1, 1, eps)

    def forward(
        self, hidden_states: torch.Tensor, previous: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and the map of the block before -> gated features and the map `(B, 1, H, W)`."""
        residual = hidden_states if self.shortcut is None else self.shortcut(hidden_states)
        # In place where autograd needs no copy: a convolution does not keep its output.
        features = nn.functional.relu(self.convolution1(hidden_states), inplace=True)
        features = self.convolution2(features).add_(residual).relu_()
        pooled = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        attention = self.gate(pooled).sigmoid()
        if previous is not None:
            attention = attention * nn.functional.max_pool2d(previous, kernel_size=3, stride=2, padding=1)
        gated = features * attention if torch.is_grad_enabled() else features.mul_(attention)
        return gated, attention


class MMNetMotionBranch(nn.Module):
    """Stem and attention blocks, on the difference between apex and onset."""

    def __init__(self, config: MMNetConfig):
        super().__init__()
        eps, (first, second) = config.batch_norm_eps, config.stem_channels
        self.stem = nn.ModuleList(
            [
                MMNetConvolution(config.num_channels, first, 3, 2, eps),
                MMNetConvolution(first, second, 3, 1, eps),
            ]
        )
        widths = [second, *config.hidden_sizes]
        self.blocks = nn.ModuleList(
            MMNetAttentionBlock(widths[i], widths[i + 1], stride, eps)
            for i, stride in enumerate(config.strides)
        )

    def forward(
        self, motion: torch.Tensor, keep: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """`(B, 3, S, S)` -> maps of the stem and each block (or the last alone), attention maps."""
        hidden_states = motion.contiguous(memory_format=torch.channels_last)
        for convolution in self.stem:
            hidden_states = nn.functional.relu(convolution(hidden_states), inplace=True)
        maps, attentions, attention = [hidden_states], [], None
        for block in self.blocks:
            hidden_states, attention = block(hidden_states, attention)
            maps = [*maps, hidden_states] if keep else [hidden_states]
            attentions.append(attention)
        return maps, attentions

    def in_chunks(self, motion: torch.Tensor, keep: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """`forward`, a few samples at a time where that is quicker and changes nothing."""
        whole = torch.is_grad_enabled() or self.training or torch.compiler.is_compiling()
        if whole or motion.device.type != "cpu" or len(motion) <= SAMPLES_AT_ONCE:
            return self(motion, keep)
        parts = [self(part, keep) for part in motion.split(SAMPLES_AT_ONCE)]
        maps, attentions = zip(*parts, strict=True)
        return [torch.cat(each) for each in zip(*maps, strict=True)], [
            torch.cat(each) for each in zip(*attentions, strict=True)
        ]


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
        """`(B, N, C)` -> the same."""
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
        """`(B, N, C)` -> the same."""
        return self.fc2(self.activation(self.fc1(hidden_states)))


class MMNetDropPath(nn.Module):
    """Stochastic depth: drops a branch for a whole sample."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, ...)` -> the same, some samples 0, the others scaled up."""
        if not (self.training and self.rate):
            return hidden_states
        kept = (
            torch.rand(len(hidden_states), *[1] * (hidden_states.ndim - 1), device=hidden_states.device)
            >= self.rate
        )
        return hidden_states * kept.to(hidden_states.dtype) / (1 - self.rate)


class MMNetLayer(GradientCheckpointingLayer):
    """One transformer layer, norms first."""

    def __init__(self, config: MMNetConfig, drop_path_rate: float):
        super().__init__()
        width = config.hidden_sizes[-1]
        self.norm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = MMNetAttention(config)
        self.norm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MMNetMLP(config)
        self.drop_path = MMNetDropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same."""
        hidden_states = hidden_states + self.drop_path(self.attention(self.norm_before(hidden_states)))
        return hidden_states + self.drop_path(self.mlp(self.norm_after(hidden_states)))


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
        """`(B, 3, S, S)` -> `(B, 3, grid, grid)`."""
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
    """Initialisation, saving, and what transformers needs to know of MMNet."""

    config: MMNetConfig
    config_class = MMNetConfig
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
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Conv2d):
            if module.in_channels == self.config.num_channels:
                init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            else:
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

    @staticmethod
    def _init_as_pytorch(linear: nn.Linear) -> None:
        bound = 1 / math.sqrt(linear.in_features)
        init.uniform_(linear.weight, -bound, bound)
        init.uniform_(linear.bias, -bound, bound)

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
            "AutoConfig": "configuration_mmnet.MMNetConfig",
            "AutoModel": "modeling_mmnet.MMNetModel",
            "AutoModelForVideoClassification": "modeling_mmnet.MMNetForVideoClassification",
        }
        return super().save_pretrained(save_directory, *args, **kwargs)


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
        """Features of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            output_attentions (`bool`, *optional*): Return the continuous-attention map of each block, `(B, 1,
                H, W)` in [0, 1], finest first: the block's own gate times the pooled gates of all blocks
                before it.
            output_hidden_states (`bool`, *optional*): Return the output of the stem and of each block, gated.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `MMNetModelOutput`
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        onset, apex = self._frames(pixel_values)
        maps, attentions = self.motion_branch.in_chunks(apex - onset, bool(output_hidden_states))
        position_embedding = self.position_branch(onset)
        features = maps[-1] + position_embedding
        return MMNetModelOutput(
            last_hidden_state=features,
            pooler_output=features.flatten(1),
            hidden_states=tuple(maps) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
            position_embedding=position_embedding,
        )

    def _frames(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.config.image_size
        expected = (2, self.config.num_channels, size, size)
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (B, {', '.join(map(str, expected))}), onset and apex, got "
                f"{tuple(pixel_values.shape)}. Prepare them with MMNetImageProcessor(size={size}); the "
                "classifier weighs every position, so that weights fit one size only."
            )
        onset, apex = pixel_values.to(self.dtype).unbind(1)
        return onset, apex


class MMNetForVideoClassification(MMNetPreTrainedModel):
    """MMNet with its linear classifier: onset and apex in, class scores out."""

    # The loss is a mean over the batch: a trainer that accumulates gradients has to divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: MMNetConfig):
        super().__init__(config)
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
        """Class scores of pairs of frames.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices; given, the result has the mean
                cross entropy as `loss`.
            output_attentions (`bool`, *optional*): See `MMNetModel.forward`.
            output_hidden_states (`bool`, *optional*): See `MMNetModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.mmnet(
            pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def relevance(
        self, target: int | list[int] | torch.Tensor | None = None, *, pixel_values: torch.Tensor
    ) -> torch.Tensor:
        """Where the motion that speaks for a class lies, by attention and by the classifier's own weights.

        The classifier is linear in the gated features of the last block and weighs every position by itself,
        so the part that each position has in a logit is known exactly, without gradients. What a position
        gives to the target more than to the mean of all classes, if it is positive, is spread over the finest
        grid along the four continuous-attention maps, which say where inside that position the network took
        it from. The position branch sees a face at rest and is left out.

        Args:
            target (`int`, `list[int]` or `torch.Tensor` of shape `(B,)`, *optional*): Class indices; by
                default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, 2, num_channels, image_size, image_size)`): Onset and
                apex, from the processor.

        Returns:
            `torch.Tensor` of shape `(B, image_size / 2, image_size / 2)`: float32, not negative.

        Raises:
            ValueError: If a target is no class index.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                asked = {"output_attentions": True, "output_hidden_states": True, "return_dict": True}
                outputs = self.mmnet(pixel_values.to(self.device), **asked)
                logits = self.classifier(outputs.pooler_output)
        finally:
            for module, mode in modes:
                module.training = mode
        target = self._target_of(logits, target)
        gated = outputs.hidden_states[-1].float()
        weight = self.classifier.weight.detach().float()
        weight = (weight[target] - weight.mean(dim=0)).reshape(gated.shape)
        evidence = (weight * gated).sum(dim=1, keepdim=True).clamp(min=0)  # (B, 1, grid, grid)
        return self._refine(evidence, [attention.float() for attention in outputs.attentions])[:, 0]

    def _refine(self, evidence: torch.Tensor, attentions: list[torch.Tensor]) -> torch.Tensor:
        """Spread evidence over finer and finer grids in proportion to each block's attention map."""
        for attention in reversed(attentions[:-1]):
            size = attention.shape[-2:]
            evidence = nn.functional.interpolate(evidence, size, mode="bilinear") * attention
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


__all__ = ["MMNetForVideoClassification", "MMNetModel", "MMNetModelOutput", "MMNetPreTrainedModel"]
