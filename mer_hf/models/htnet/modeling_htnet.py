"""HTNet in PyTorch: patches, transformer layers inside blocks, and convolutions that merge the blocks.

The network of Wang et al., "HTNet for micro-expression recognition" (arXiv 2307.14637, 2023), with linear
layers on channels-last maps where the original has 1 x 1 convolutions. Inside the network maps are
`(B, height, width, channels)`.
"""

import math

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple

from .configuration_htnet import HTNetConfig

Attended = tuple[torch.Tensor, torch.Tensor | None]
"""Hidden states, and the attention weights if asked for."""

RELEVANCE_STEPS = 16
"""Points on the way to the input at which `relevance` takes gradients."""


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Return context and weights of attention; takes the arguments of `ALL_ATTENTION_FUNCTIONS`."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    weights = nn.functional.softmax(weights, dim=-1)
    output = torch.matmul(nn.functional.dropout(weights, p=dropout, training=module.training), value)
    return output.transpose(1, 2), weights


class HTNetEmbeddings(nn.Module):
    """Cuts the flow map into patches and projects each to a vector."""

    def __init__(self, config: HTNetConfig):
        super().__init__()
        self.config = config
        self.projection = nn.Linear(config.patch_size**2 * config.num_channels, config.hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(B, num_channels, image_size, image_size)` -> `(B, grid, grid, hidden_size)`."""
        size, patch = self.config.image_size, self.config.patch_size
        expected = (self.config.num_channels, size, size)
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (B, {', '.join(map(str, expected))}), got "
                f"{tuple(pixel_values.shape)}. Prepare them with HTNetImageProcessor(size={size})."
            )
        # A patch is read row by row, its channels fastest.
        patches = pixel_values.unflatten(2, (-1, patch)).unflatten(4, (-1, patch))
        return self.projection(patches.permute(0, 2, 4, 3, 5, 1).flatten(3))


class HTNetAttention(nn.Module):
    """Attention among the tokens of a block."""

    def __init__(self, config: HTNetConfig, hierarchy: int):
        super().__init__()
        self.config = config
        width = config.hidden_size * 2**hierarchy
        self.num_heads = config.num_attention_heads * 2**hierarchy
        self.head_size = width // self.num_heads  # rounded down: the published heads do not divide the width
        self.scaling = self.head_size**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.qkv = nn.Linear(width, 3 * self.num_heads * self.head_size, bias=False)
        self.projection = nn.Linear(self.num_heads * self.head_size, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> Attended:
        """`(blocks, tokens, C)` -> the same, and weights `(blocks, heads, tokens, tokens)` if asked for."""
        qkv = self.qkv(hidden_states).unflatten(2, (3, self.num_heads, self.head_size))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (blocks, heads, tokens, head_size)
        # The fused implementations do not return weights.
        implementation = "eager" if output_attentions else self.config._attn_implementation
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attention(self, query, key, value, None, scaling=self.scaling, dropout=dropout)
        # (blocks, tokens, heads, head_size) -> (blocks, tokens, C)
        return self.dropout(self.projection(context.flatten(2))), weights if output_attentions else None


class HTNetMLP(nn.Module):
    """The feed-forward half of a layer."""

    def __init__(self, config: HTNetConfig, width: int):
        super().__init__()
        inner = int(config.mlp_ratio * width)
        self.fc1 = nn.Linear(width, inner)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(inner, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(..., C)` -> `(..., C)`."""
        hidden_states = self.dropout(self.activation(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class HTNetLayer(GradientCheckpointingLayer):
    """One transformer layer, norms first."""

    def __init__(self, config: HTNetConfig, hierarchy: int):
        super().__init__()
        width = config.hidden_size * 2**hierarchy
        self.norm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = HTNetAttention(config, hierarchy)
        self.norm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = HTNetMLP(config, width)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> Attended:
        """`(blocks, tokens, C)` -> the same, and the attention weights if asked for."""
        attended, weights = self.attention(self.norm_before(hidden_states), output_attentions)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.norm_after(hidden_states)), weights


class HTNetAggregation(nn.Module):
    """Merges 2 x 2 blocks into one: a convolution across their borders, a norm, and pooling."""

    def __init__(self, config: HTNetConfig, width: int):
        super().__init__()
        self.convolution = nn.Conv2d(width, 2 * width, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(2 * width, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, f, f, C)` -> `(B, f / 2, f / 2, 2 C)`."""
        hidden_states = self.convolution(hidden_states.permute(0, 3, 1, 2).contiguous())
        hidden_states = self.norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        hidden_states = nn.functional.max_pool2d(hidden_states, kernel_size=3, stride=2, padding=1)
        return hidden_states.permute(0, 2, 3, 1)


class HTNetHierarchy(nn.Module):
    """The layers of one level, applied inside blocks, and the aggregation that leads to the next level."""

    def __init__(self, config: HTNetConfig, hierarchy: int):
        super().__init__()
        width, last = config.hidden_size * 2**hierarchy, hierarchy == len(config.depths) - 1
        self.blocks_per_side = 2 ** (len(config.depths) - 1 - hierarchy)
        # One number per position in a block, shared by channels and blocks. Norms remove it, so that it only
        # acts through the aggregation: the last level's has no effect, but is part of the published weights.
        self.position_embedding = nn.Parameter(torch.empty(config.tokens_per_block))
        self.layers = nn.ModuleList(HTNetLayer(config, hierarchy) for _ in range(config.depths[hierarchy]))
        self.aggregation = None if last else HTNetAggregation(config, width)

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """`(B, f, f, C)` -> `(B, f / 2, f / 2, 2 C)`, in the last level the same shape, and attentions."""
        batch, side, _, width = hidden_states.shape
        blocks, in_block = self.blocks_per_side, side // self.blocks_per_side
        # (B, f, f, C) -> (B * blocks * blocks, tokens, C), samples first, then block rows
        hidden_states = hidden_states.reshape(batch, blocks, in_block, blocks, in_block, width)
        hidden_states = hidden_states.transpose(2, 3).reshape(-1, in_block * in_block, width)
        hidden_states = hidden_states + self.position_embedding[:, None]
        attentions = []
        for layer in self.layers:
            hidden_states, weights = layer(hidden_states, output_attentions)
            attentions.append(weights)
        hidden_states = hidden_states.reshape(batch, blocks, blocks, in_block, in_block, width)
        hidden_states = hidden_states.transpose(2, 3).reshape(batch, side, side, width)
        if self.aggregation is not None:
            hidden_states = self.aggregation(hidden_states)
        return hidden_states, attentions


class HTNetPreTrainedModel(PreTrainedModel):
    """Initialisation, and what transformers needs to know about HTNet."""

    config: HTNetConfig
    base_model_prefix = "htnet"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("HTNetLayer", "HTNetAggregation")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The original keeps PyTorch's own initialisation, and position scalars of standard deviation 1.
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, HTNetHierarchy):
            init.normal_(module.position_embedding, std=1.0)
        else:  # norms
            super()._init_weights(module)


class HTNetModel(HTNetPreTrainedModel):
    """HTNet without its classifier: a flow map in, features out."""

    def __init__(self, config: HTNetConfig):
        super().__init__(config)
        self.embeddings = HTNetEmbeddings(config)
        self.hierarchies = nn.ModuleList(HTNetHierarchy(config, i) for i in range(len(config.depths)))
        width = config.hidden_size * 2 ** (len(config.depths) - 1)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Compute features of flow maps.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, num_channels, image_size, image_size)`): From the
                processor.
            output_attentions (`bool`, *optional*): Return the attention weights of every layer,
                `(B * blocks, heads, tokens, tokens)`, samples first, then block rows. The eager
                implementation computes them, whichever is set. With one token per block they are all 1.
            output_hidden_states (`bool`, *optional*): Return the patch embeddings and the map after each
                hierarchy (the last one before the final norm), each `(B, C, height, width)`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `BaseModelOutputWithPooling`: `last_hidden_state` `(B, C, height, width)` after the final norm,
            and `pooler_output` `(B, C)`, its mean over positions.
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        maps, attentions = [self.embeddings(pixel_values.to(self.dtype))], []
        for hierarchy in self.hierarchies:
            hidden_states, weights = hierarchy(maps[-1], bool(output_attentions))
            maps.append(hidden_states)
            attentions += weights
        features = self.norm(maps[-1])
        return BaseModelOutputWithPooling(
            last_hidden_state=features.permute(0, 3, 1, 2),  # (B, H, W, C) -> (B, C, H, W)
            pooler_output=features.mean(dim=(1, 2)),
            hidden_states=tuple(m.permute(0, 3, 1, 2) for m in maps) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class HTNetForVideoClassification(HTNetPreTrainedModel):
    """HTNet with its linear classifier: flow maps from onset to apex in, class scores out."""

    # The loss is a mean over the batch: a trainer that accumulates gradients has to divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: HTNetConfig):
        super().__init__(config)
        if config.num_labels == 1 and config.problem_type == "single_label_classification":
            config.problem_type = None  # it is the checkpoint's, of several classes; one number is regressed
        self.htnet = HTNetModel(config)
        self.classifier = nn.Linear(self.htnet.norm.normalized_shape[0], config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """Compute class scores of flow maps.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, num_channels, image_size, image_size)`): From the
                processor.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices, which add the mean cross
                entropy as `loss`; numbers, which add the mean squared error, if `num_labels` is 1.
            output_attentions (`bool`, *optional*): See `HTNetModel.forward`.
            output_hidden_states (`bool`, *optional*): See `HTNetModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.htnet(pixel_values, output_attentions, output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def relevance(self, target: int | None = None, *, pixel_values: torch.Tensor) -> torch.Tensor:
        """Show where on the flow map the evidence for a class lies, by integrated gradients from stillness.

        The map is approached from 0, its mean, and the gradients on the way times the map say what each
        pixel adds to the class more than to the mean of all classes (Sundararajan et al., "Axiomatic
        Attribution for Deep Networks", arXiv 1703.01365). Means over half the side of a quarter are shown
        where they speak for the class: single pixels are noise. Attention cannot show this: with one token
        per block all its weights are 1, and otherwise it stays inside a block and does not depend on the
        class.

        Args:
            target (`int`, *optional*): Class index; by default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, num_channels, image_size, image_size)`): From the
                processor.

        Returns:
            `torch.Tensor` of shape `(B, image_size, image_size)`: float32, not negative.

        Raises:
            ValueError: If the model is in training mode.
        """
        if self.training:
            raise ValueError("relevance needs the model in evaluation mode. Call model.eval() first.")
        # A tensor made in inference mode has no gradient, so it is cloned.
        with torch.inference_mode(False), torch.enable_grad():
            evidence = self._evidence(pixel_values.to(self.device, self.dtype, copy=True), target)
        return self._in_windows(evidence).clamp(min=0)

    def _evidence(self, flows: torch.Tensor, target: int | None) -> torch.Tensor:
        """Return what each pixel of the maps `(B, C, S, S)` adds to the class, `(B, S, S)`."""
        answers = self(flows).logits.argmax(dim=1, keepdim=True)
        answers = answers if target is None else torch.full_like(answers, target)
        gradients = []
        for step in range(RELEVANCE_STEPS):
            between = ((step + 0.5) / RELEVANCE_STEPS * flows).requires_grad_()
            logits = self(between).logits
            scores = logits.gather(1, answers) - logits.mean(dim=1, keepdim=True)
            gradients += torch.autograd.grad(scores.sum(), between)
        return (torch.stack(gradients).float().mean(dim=0) * flows.float()).sum(dim=1)

    def _in_windows(self, maps: torch.Tensor) -> torch.Tensor:
        """Average `(B, S, S)` over windows that fall off towards the rim and stay in a quarter of the map."""
        window = 2 * (maps.shape[-1] // 8) + 1
        parts = maps.unflatten(2, (2, -1)).unflatten(1, (2, -1)).transpose(2, 3).flatten(1, 2)  # (B, 4, h, h)
        for _ in range(2):
            parts = nn.functional.avg_pool2d(parts, window, stride=1, padding=window // 2)
        return parts.unflatten(1, (2, 2)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


__all__ = ["HTNetForVideoClassification", "HTNetModel", "HTNetPreTrainedModel"]
