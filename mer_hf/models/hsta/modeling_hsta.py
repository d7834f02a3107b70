"""HSTA in PyTorch: two streams of tokens that attend over space and time and exchange their first tokens.

The network of Hao et al., "Hierarchical Space-Time Attention for Micro-Expression Recognition" (arXiv
2405.03202, 2024). Branch 0 sees the key frames (onset and apex), branch 1 the frames sampled from the clip.
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

from .configuration_hsta import HSTAConfig

Attended = tuple[torch.Tensor, torch.Tensor | None]
"""Hidden states, and the attention weights if asked for."""


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Return context and weights of attention; takes the arguments of `ALL_ATTENTION_FUNCTIONS`."""
    weights = torch.matmul(query * scaling, key.transpose(-1, -2))
    weights = nn.functional.softmax(weights, dim=-1)
    output = torch.matmul(nn.functional.dropout(weights, p=dropout, training=module.training), value)
    return output.transpose(1, 2), weights


def position_table(tokens: int, width: int) -> torch.Tensor:
    """Return sines and cosines of the flattened token index, float32 `(1, tokens, width)`."""
    index = torch.arange(width, dtype=torch.float64, device="cpu")
    rate = 10000 ** (2 * (index // 2) / width)
    angle = torch.arange(tokens, dtype=torch.float64, device="cpu")[:, None] / rate
    return torch.where(index % 2 == 0, angle.sin(), angle.cos()).float()[None]


def drop_path_rates(depths: list[list[int]], rate: float) -> list[list[list[float]]]:
    """Return the stochastic depth of every block, stage -> branch -> block, as the original assigns it.

    The rates grow from 0 to `rate` over as many entries as the clip's branch has blocks; each stage takes as
    many entries as its deeper branch needs. If the branch of the key frames is the deeper one, the entries
    run out, and the rest of that stage gets 0.
    """
    entries = iter(torch.linspace(0, rate, sum(depth[1] for depth in depths), device="cpu").tolist())
    stages = []
    for key_depth, clip_depth in depths:
        rates = [next(entries, None) for _ in range(max(key_depth, clip_depth))]
        clip_rates = [0.0] * clip_depth if None in rates[:key_depth] else rates[:clip_depth]
        stages.append([[rate or 0.0 for rate in rates[:key_depth]], [rate or 0.0 for rate in clip_rates]])
    return stages


class HSTAEmbeddings(nn.Module):
    """Tubelets of one branch as vectors, its class token in front, positions added."""

    def __init__(self, config: HSTAConfig, branch: int):
        super().__init__()
        width, patch = config.hidden_sizes[branch], config.patch_sizes[branch]
        tubelet = (config.tubelet_size, patch, patch)
        self.projection = nn.Conv3d(config.num_channels, width, kernel_size=tubelet, stride=tubelet)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        tokens = math.prod(config.grids[branch]) + 1
        self.register_buffer("positions", position_table(tokens, width), persistent=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, S, S)` -> `(B, 1 + N, C)`."""
        patches = self.projection(frames.transpose(1, 2)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(frames.shape[0], -1, -1), patches], dim=1)
        return self.dropout(tokens + self.positions.to(tokens.dtype))


class HSTASelfAttention(nn.Module):
    """Attention over all tokens of a branch; the keys have no bias."""

    def __init__(self, config: HSTAConfig, branch: int):
        super().__init__()
        self.config = config
        width = config.hidden_sizes[branch]
        self.num_heads = config.num_attention_heads[branch]
        self.scaling = (width // self.num_heads) ** -0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width)) if config.qkv_bias else None
        self.value_bias = nn.Parameter(torch.zeros(width)) if config.qkv_bias else None
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> Attended:
        """`(B, N, C)` -> the same, and weights `(B, heads, N, N)` if asked for."""
        qkv = self.qkv(hidden_states)
        if self.query_bias is not None:
            no_bias = torch.zeros_like(self.query_bias)
            qkv = qkv + torch.cat([self.query_bias, no_bias, self.value_bias])
        qkv = qkv.unflatten(2, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_size)
        # The fused implementations do not return weights.
        implementation = "eager" if output_attentions else self.config._attn_implementation
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attention(self, query, key, value, None, scaling=self.scaling, dropout=dropout)
        return self.dropout(self.projection(context.flatten(2))), weights if output_attentions else None


class HSTAMLP(nn.Module):
    """The feed-forward half of a block."""

    def __init__(self, config: HSTAConfig, branch: int):
        super().__init__()
        width = config.hidden_sizes[branch]
        inner = round(config.mlp_ratio * width)
        self.fc1, self.activation = nn.Linear(width, inner), ACT2FN[config.hidden_act]
        self.fc2, self.dropout = nn.Linear(inner, width), nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same."""
        hidden_states = self.dropout(self.activation(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class HSTALayer(GradientCheckpointingLayer):
    """Unimodal space-time attention: one transformer block over all tokens of a branch, norms first."""

    def __init__(self, config: HSTAConfig, branch: int, drop_path_rate: float):
        super().__init__()
        width, eps = config.hidden_sizes[branch], config.layer_norm_eps
        self.norm_before, self.norm_after = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attention, self.mlp = HSTASelfAttention(config, branch), HSTAMLP(config, branch)
        self.drop_path_rate = drop_path_rate

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> Attended:
        """`(B, N, C)` -> the same, and the attention weights if asked for."""
        attended, weights = self.attention(self.norm_before(hidden_states), output_attentions)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.norm_after(hidden_states))), weights

    def drop_path(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Drop some samples of `(B, N, C)` in training and scale up the others: stochastic depth."""
        rate = self.drop_path_rate
        if not (self.training and rate):
            return hidden_states
        kept = torch.rand((hidden_states.shape[0], 1, 1), device=hidden_states.device) >= rate
        return hidden_states * kept.to(hidden_states.dtype) / (1 - rate)


class HSTACrossAttention(nn.Module):
    """One token attends to itself and the patch tokens of a branch."""

    def __init__(self, config: HSTAConfig, branch: int):
        super().__init__()
        width = config.hidden_sizes[branch]
        self.num_heads = config.num_attention_heads[branch]
        self.scaling = (width // self.num_heads) ** -0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(width, width, bias=config.qkv_bias) for _ in range(3))
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, asking: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, 1, C)` and `(B, N, C)`, both normalised -> `(B, 1, C)` and weights `(B, heads, 1, 1 + N)`."""
        tokens = torch.cat([asking, patches], dim=1)
        query, key, value = (
            linear(each).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, tokens, head_size)
            for linear, each in ((self.query, asking), (self.key, tokens), (self.value, tokens))
        )
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = eager_attention_forward(self, query, key, value, None, self.scaling, dropout)
        return self.dropout(self.projection(context.flatten(2))), weights


class HSTAExchange(nn.Module):
    """Crossmodal space-time attention: the class token of one branch asks the patches of the other."""

    def __init__(self, config: HSTAConfig, branch: int):
        super().__init__()
        eps, own, other = config.layer_norm_eps, config.hidden_sizes[branch], config.hidden_sizes[1 - branch]
        self.norm_in, self.projection_in = nn.LayerNorm(own, eps=eps), nn.Linear(own, other)
        self.norm, self.attention = nn.LayerNorm(other, eps=eps), HSTACrossAttention(config, 1 - branch)
        self.norm_out, self.projection_out = nn.LayerNorm(other, eps=eps), nn.Linear(other, own)

    def forward(self, class_token: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, 1, C_own)` and `(B, N, C_other)` -> the new class token `(B, 1, C_own)`, and the weights."""
        asking = self.projection_in(nn.functional.gelu(self.norm_in(class_token)))
        attended, weights = self.attention(self.norm(asking), self.norm(patches))
        fused = asking + attended
        return self.projection_out(nn.functional.gelu(self.norm_out(fused))), weights


class HSTAStage(nn.Module):
    """The blocks of both branches, then the exchange, which replaces both class tokens."""

    def __init__(self, config: HSTAConfig, rates: list[list[float]]):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(HSTALayer(config, branch, rate) for rate in rates[branch]) for branch in (0, 1)
        )
        self.exchanges = nn.ModuleList(HSTAExchange(config, branch) for branch in (0, 1))

    def forward(
        self, branches: list[torch.Tensor], output_attentions: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Tokens of both branches -> the same; attentions of the blocks, then those of the exchanges."""
        tokens, attentions = [], []
        for layers, hidden_states in zip(self.layers, branches, strict=True):
            for layer in layers:
                hidden_states, weights = layer(hidden_states, output_attentions)
                attentions.append(weights)
            tokens.append(hidden_states)
        exchanged = []
        for branch, exchange in enumerate(self.exchanges):
            class_token, weights = exchange(tokens[branch][:, :1], tokens[1 - branch][:, 1:])
            exchanged.append(torch.cat([class_token, tokens[branch][:, 1:]], dim=1))
            attentions.append(weights)
        return exchanged, attentions


class HSTAPreTrainedModel(PreTrainedModel):
    """Initialisation, and what transformers needs to know about HSTA."""

    config: HSTAConfig
    base_model_prefix = "hsta"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ("HSTALayer", "HSTAExchange")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            super()._init_weights(module)
        elif isinstance(module, HSTASelfAttention) and module.query_bias is not None:
            init.zeros_(module.query_bias)
            init.zeros_(module.value_bias)
        elif isinstance(module, HSTAEmbeddings):
            bound = 1 / math.sqrt(module.projection.weight[0].numel())  # PyTorch's own, as in the original
            init.uniform_(module.projection.weight, -bound, bound)
            init.uniform_(module.projection.bias, -bound, bound)
            init.trunc_normal_(module.class_token, std=std)
            init.copy_(module.positions, position_table(*module.positions.shape[1:]))


class HSTAModel(HSTAPreTrainedModel):
    """HSTA without its classifier: a clip and its key frames in, features out."""

    def __init__(self, config: HSTAConfig):
        super().__init__(config)
        self.embeddings = nn.ModuleList(HSTAEmbeddings(config, branch) for branch in (0, 1))
        rates = drop_path_rates(config.depths, config.drop_path_rate)
        self.stages = nn.ModuleList(HSTAStage(config, rate) for rate in rates)
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=config.layer_norm_eps) for width in config.hidden_sizes
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Compute features of clips.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, T + 2, num_channels, image_size, image_size)`): The T
                sampled frames, then onset, then apex, from the processor.
            output_attentions (`bool`, *optional*): Return the attention weights of every stage: those of the
                blocks of the key frames' branch and of the clip's branch, `(B, heads, 1 + N, 1 + N)`, then
                those of the two exchanges, `(B, heads, 1, 1 + N)`, whose first key is the asking token. The
                eager implementation computes them, whichever is set.
            output_hidden_states (`bool`, *optional*): Return the tokens `(B, 1 + N, C)` of both branches, key
                frames first, after the embeddings and after each stage (before the final norm).
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `BaseModelOutputWithPooling`: `last_hidden_state` `(B, 1 + N, C)`, the tokens of the clip's branch
            after the final norm, and `pooler_output` `(B, P)`, what the classifier sees.
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        self._check(pixel_values)
        frames = (self.config.num_frames, self.config.num_key_frames)
        clip, key_frames = pixel_values.to(self.dtype).split(frames, dim=1)
        branches = [self.embeddings[0](key_frames), self.embeddings[1](clip)]
        hidden_states, attentions = [*branches], []
        for stage in self.stages:
            branches, weights = stage(branches, bool(output_attentions))
            hidden_states += branches
            attentions += weights
        branches = [norm(tokens) for norm, tokens in zip(self.norms, branches, strict=True)]
        return BaseModelOutputWithPooling(
            last_hidden_state=branches[1],
            pooler_output=self._pool(branches),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def _check(self, pixel_values: torch.Tensor) -> None:
        config = self.config
        frames = config.num_frames + config.num_key_frames
        expected = (frames, config.num_channels, config.image_size, config.image_size)
        if pixel_values.ndim != 5 or tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"expected pixel_values of shape (B, {', '.join(map(str, expected))}), {config.num_frames} "
                f"sampled frames, onset and apex, got {tuple(pixel_values.shape)}. Prepare them with "
                f"HSTAImageProcessor(size={config.image_size}, num_frames={config.num_frames})."
            )

    def _pool(self, branches: list[torch.Tensor]) -> torch.Tensor:
        if self.config.pooling == "mean":  # the class token is one of those averaged
            return torch.cat([tokens.mean(dim=1) for tokens in branches], dim=1)
        pooled = [tokens[:, 0] for tokens in branches]
        if self.config.pooling == "cls_last":
            pooled += [tokens[:, -1] for tokens in branches]
        return torch.cat(pooled, dim=1)


class HSTAForVideoClassification(HSTAPreTrainedModel):
    """HSTA with its linear classifier: a clip and its key frames in, class scores out."""

    # The loss is a mean over the batch: a trainer that accumulates gradients has to divide it itself.
    accepts_loss_kwargs = False

    def __init__(self, config: HSTAConfig):
        super().__init__(config)
        if config.num_labels == 1 and config.problem_type == "single_label_classification":
            config.problem_type = None  # it is the checkpoint's, of several classes; one number is regressed
        self.hsta = HSTAModel(config)
        pooled = sum(config.hidden_sizes) * (2 if config.pooling == "cls_last" else 1)
        self.classifier = nn.Linear(pooled, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ImageClassifierOutput:
        """Compute class scores of clips.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, T + 2, num_channels, image_size, image_size)`): The T
                sampled frames, then onset, then apex, from the processor.
            labels (`torch.Tensor` of shape `(B,)`, *optional*): Class indices, which add the mean cross
                entropy as `loss`; numbers, which add the mean squared error, if `num_labels` is 1.
            output_attentions (`bool`, *optional*): See `HSTAModel.forward`.
            output_hidden_states (`bool`, *optional*): See `HSTAModel.forward`.
            return_dict (`bool`, *optional*): False gives a tuple.

        Returns:
            `ImageClassifierOutput`: `loss` (with `labels`), `logits` `(B, num_labels)`, and on request
            `hidden_states` and `attentions`.
        """
        outputs = self.hsta(pixel_values, output_attentions, output_hidden_states, return_dict=True)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)

    def relevance(self, target: int | None = None, *, pixel_values: torch.Tensor) -> torch.Tensor:
        """Show where and when the evidence for a class lies: attention rollout weighted by gradients.

        Each block passes relevance from a token to the tokens that it attends to, by the mean over heads of
        its attention weights times the positive part of their gradient for the target, and on to itself (its
        residual). An exchange passes that of a class token to the patches of the other branch in the same
        way. Plain attention does not depend on the class, and an exchange replaces a class token by what it
        attended to, so the rollout runs back through both branches together.

        Args:
            target (`int`, *optional*): Class index; by default each sample's highest class.
            pixel_values (`torch.Tensor` of shape `(B, T + 2, num_channels, image_size, image_size)`): From
                the processor.

        Returns:
            `torch.Tensor` of shape `(B, T + 2, image_size, image_size)`: float32, not negative. A map for
            each of the sampled frames, by the clip's branch (the frames of a tubelet share one), then for
            onset and apex, by the branch of the key frames (they share one).

        Raises:
            ValueError: If the model is in training mode.
        """
        if self.training:
            raise ValueError("relevance needs the model in evaluation mode. Call model.eval() first.")
        # A tensor made in inference mode has no gradient, so it is cloned.
        with torch.inference_mode(False), torch.enable_grad():
            clips = pixel_values.to(self.device, self.dtype, copy=True).requires_grad_().split(1)
            return torch.cat([self._roll_out(clip, target) for clip in clips])

    def _roll_out(self, pixel_values: torch.Tensor, target: int | None) -> torch.Tensor:
        """Return the `relevance` of one clip."""
        outputs = self.hsta(pixel_values, output_attentions=True, return_dict=True)
        logits = self.classifier(outputs.pooler_output)[0]
        score = logits.max() if target is None else logits[target]
        # Minus the mean: what raises all logits alike is not evidence.
        gradients = torch.autograd.grad(score - logits.mean(), outputs.attentions)
        steps = [
            (weights * gradient).clamp(min=0)[0].mean(dim=0).float().detach()
            for weights, gradient in zip(outputs.attentions, gradients, strict=True)
        ]
        sizes = [math.prod(grid) + 1 for grid in self.config.grids]
        rows = [torch.zeros(size, device=pixel_values.device) for size in sizes]
        for row in rows:  # the classifier's input
            if self.config.pooling == "mean":
                row += 1 / len(row)
            row[0] += 1.0
            if self.config.pooling == "cls_last":
                row[-1] += 1.0
        for depth in reversed(self.config.depths):
            blocks = sum(depth)
            *steps, first, second = steps
            # Both exchanges read what the blocks left, so both rows are taken before either is changed.
            passed = [rows[0][0] * first[0], rows[1][0] * second[0]]
            for branch in (0, 1):
                rows[branch][0] += passed[branch][0]
                rows[1 - branch][1:] += passed[branch][1:]
            steps, own = steps[: len(steps) - blocks], steps[len(steps) - blocks :]
            for branch, layers in ((0, own[: depth[0]]), (1, own[depth[0] :])):
                for weights in reversed(layers):
                    rows[branch] = rows[branch] + rows[branch] @ weights
        return self._as_frames([row[1:] for row in rows])

    def _as_frames(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """Return the relevance of the patches of both branches as `(1, T + 2, S, S)`."""
        config, maps = self.config, []
        counts = (config.num_key_frames, config.num_frames)
        for row, grid, patch, count in zip(rows, config.grids, config.patch_sizes, counts, strict=True):
            side, rest = grid[1] * patch, config.image_size - grid[1] * patch
            seen = nn.functional.interpolate(row.view(1, *grid), (side, side), mode="bilinear")
            seen = seen.repeat_interleave(config.tubelet_size, dim=1)
            maps.append(nn.functional.pad(seen, (0, rest, 0, rest, 0, count - seen.shape[1])))
        return torch.cat(maps[::-1], dim=1)


__all__ = ["HSTAForVideoClassification", "HSTAModel", "HSTAPreTrainedModel"]
