"""The position branch of FaceSleuth: a Swin transformer (arXiv 2103.14030) without pooling or classifier.

Tokens are kept in the order of the windows that the next layer attends in, window by window, since everything
but attention works on single tokens: between two layers there is one reordering at most, in place of two
rolls and two cuttings.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_facesleuth import FaceSleuthConfig

ONEDNN_LINEAR = None
"""A linear layer and what follows it in one call; what torch.compile uses, where PyTorch has it."""
if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    ONEDNN_LINEAR = torch.ops.mkldnn._linear_pointwise


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention written out; arguments and results as in `ALL_ATTENTION_FUNCTIONS`."""
    weights = torch.matmul(query * scaling, key.transpose(-1, -2)) + attention_mask
    weights = nn.functional.softmax(weights, dim=-1)
    output = torch.matmul(nn.functional.dropout(weights, p=dropout, training=module.training), value)
    return output.transpose(1, 2), weights


def window_order(side: int, window: int, shift: int) -> torch.Tensor:
    """Tokens of a grid (row by row) in the order of its windows, int64 `(side * side,)`.

    Windows begin at (`shift`, `shift`); what they lack at the end of the grid is its beginning.
    """
    grid = torch.arange(side * side, device="cpu").view(side, side).roll((-shift, -shift), (0, 1))
    return (
        grid.unflatten(0, (-1, window)).unflatten(2, (-1, window)).transpose(1, 2).flatten()
    )  # (rows of windows, columns of windows, row, column)


def reordering(side: int, window: int, before: int, after: int) -> torch.Tensor:
    """Places in the order of one shift, listed in the order of another."""
    return window_order(side, window, before).argsort()[window_order(side, window, after)]


def merging(side: int, window: int, before: int) -> torch.Tensor:
    """Places of the four tokens that become each token of the next stage, in the order of its windows.

    The four lie at (row, column) offsets (0, 0), (1, 0), (0, 1), (1, 1).
    """
    place = window_order(side, window, before).argsort().view(side // 2, 2, side // 2, 2)
    four = place.permute(0, 2, 3, 1).reshape(-1, 4)  # (N / 4, column offset, row offset)
    return four[window_order(side // 2, window, 0)].flatten()


def relative_position(window: int) -> torch.Tensor:
    """Row of the bias table for every query and key of a window, int64 `(w^2 * w^2,)`."""
    row, column = (
        torch.arange(window**2, device="cpu") // window,
        torch.arange(window**2, device="cpu") % window,
    )
    down, right = row[:, None] - row + window - 1, column[:, None] - column + window - 1
    return (down * (2 * window - 1) + right).flatten()


def shift_mask(side: int, window: int, shift: int) -> torch.Tensor:
    """-100 between tokens that share a window without being neighbours, float32 `(windows, 1, w^2, w^2)`."""
    band = torch.zeros(side, dtype=torch.long, device="cpu")
    band[side - window :], band[side - shift :] = 1, 2
    region = (band[:, None] * 3 + band).flatten()[window_order(side, window, 0)].view(-1, 1, window**2)
    return (region[..., :, None] != region[..., None, :]) * -100.0


class FaceSleuthTable(nn.Module):
    """A table that follows from the sizes: not saved, but made anew when a model is loaded."""

    def __init__(self, make: Callable[[], torch.Tensor]):
        super().__init__()
        self.make = make
        self.register_buffer("values", make(), persistent=False)

    def forward(self) -> torch.Tensor:
        """The table."""
        return self.values


class FaceSleuthLinear(nn.Linear):
    """A linear layer over many tokens, with a GELU behind it where `gelu` says so.

    On a CPU in evaluation oneDNN computes it, where PyTorch was built with it: its kernels are quicker for
    these shapes than those of the library that PyTorch gives matrix products to, and apply the GELU to what
    is still in the cache.
    """

    def __init__(self, width_in: int, width: int, bias: bool = True, gelu: bool = False):
        super().__init__(width_in, width, bias=bias)
        self.gelu = gelu

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> `(B, N, out_features)`."""
        ordinary = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()
        ordinary = ordinary or torch.jit.is_tracing()
        on_cpu = hidden_states.device.type == "cpu" and hidden_states.dtype == torch.float32
        if on_cpu and not ordinary and ONEDNN_LINEAR is not None:
            behind = "gelu" if self.gelu else "none"
            return ONEDNN_LINEAR(hidden_states, self.weight, self.bias, behind, [], "none")
        hidden_states = nn.functional.linear(hidden_states, self.weight, self.bias)
        return nn.functional.gelu(hidden_states) if self.gelu else hidden_states


class FaceSleuthWindowAttention(nn.Module):
    """Attention inside windows with learned relative positions."""

    def __init__(self, config: FaceSleuthConfig, stage: int, shift: int):
        super().__init__()
        self.config = config
        width, window = config.swin_widths[stage], config.swin_window_size
        self.num_heads, self.tokens = config.swin_num_heads[stage], window**2
        self.scaling = (width // self.num_heads) ** -0.5
        self.is_causal = False
        self.qkv = FaceSleuthLinear(width, 3 * width, bias=config.swin_qkv_bias)
        self.projection = FaceSleuthLinear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, self.num_heads))
        self.relative_position = FaceSleuthTable(partial(relative_position, window))
        self.mask = None
        if shift:
            self.mask = FaceSleuthTable(partial(shift_mask, config.swin_sides[stage], window, shift))

    def bias(self, batch: int) -> torch.Tensor:
        """What is added to the scores, `(1 or batch * windows, heads, w^2, w^2)`."""
        bias = self.relative_position_bias_table[self.relative_position()]
        bias = bias.view(self.tokens, self.tokens, self.num_heads).permute(2, 0, 1)[None]
        if self.mask is None:
            return bias.contiguous()
        bias = bias + self.mask().to(bias.dtype)
        return bias[None].expand(batch, -1, -1, -1, -1).flatten(0, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)`, window by window -> the same."""
        batch, count, _ = hidden_states.shape
        qkv = self.qkv(hidden_states).view(
            -1, self.tokens, 3, self.num_heads, hidden_states.shape[2] // self.num_heads
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B * windows, heads, w^2, head_size)
        implementation = self.config._attn_implementation
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        context, _ = attention(self, query, key, value, self.bias(batch), scaling=self.scaling, dropout=0.0)
        return self.projection(context.reshape(batch, count, -1))


class FaceSleuthMLP(nn.Module):
    """The feed-forward half of a layer."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = FaceSleuthLinear(width, inner, gelu=True), FaceSleuthLinear(inner, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> the same."""
        return self.fc2(self.fc1(hidden_states))


class FaceSleuthDropPath(nn.Module):
    """Stochastic depth: drops a branch for a whole sample."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, ...)` -> the same, some samples 0, the others scaled up."""
        if not (self.training and self.rate):
            return hidden_states
        shape = (len(hidden_states), *[1] * (hidden_states.ndim - 1))
        kept = torch.rand(shape, device=hidden_states.device) >= self.rate
        return hidden_states * kept.to(hidden_states.dtype) / (1 - self.rate)


class FaceSleuthSwinLayer(GradientCheckpointingLayer):
    """Attention inside windows, shifted in every second layer, and the feed-forward half; norms first."""

    def __init__(self, config: FaceSleuthConfig, stage: int, before: int, shift: int, drop_path_rate: float):
        super().__init__()
        width, side, window = config.swin_widths[stage], config.swin_sides[stage], config.swin_window_size
        self.reorder = None
        if before != shift:
            self.reorder = FaceSleuthTable(partial(reordering, side, window, before, shift))
        self.norm_before = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = FaceSleuthWindowAttention(config, stage, shift)
        self.norm_after = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = FaceSleuthMLP(width, int(width * config.swin_mlp_ratio))
        self.drop_path = FaceSleuthDropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` in the order of the layer before -> the same in the order of this one's windows."""
        if self.reorder is not None:
            hidden_states = hidden_states[:, self.reorder()]
        hidden_states = hidden_states + self.drop_path(self.attention(self.norm_before(hidden_states)))
        return hidden_states + self.drop_path(self.mlp(self.norm_after(hidden_states)))


class FaceSleuthPatchMerging(nn.Module):
    """Four neighbours to one token of twice the width."""

    def __init__(self, config: FaceSleuthConfig, stage: int, before: int):
        super().__init__()
        width, side, window = config.swin_widths[stage], config.swin_sides[stage], config.swin_window_size
        self.order = FaceSleuthTable(partial(merging, side, window, before))
        self.norm = nn.LayerNorm(4 * width, eps=config.layer_norm_eps)
        self.reduction = FaceSleuthLinear(4 * width, 2 * width, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(B, N, C)` -> `(B, N / 4, 2 C)` in the order of the next stage's unshifted windows."""
        four = hidden_states[:, self.order()].unflatten(1, (-1, 4)).flatten(2)
        return self.reduction(self.norm(four))


class FaceSleuthPositionBranch(nn.Module):
    """Where on the face each position lies (the facial position focalizer): a Swin on single frames."""

    def __init__(self, config: FaceSleuthConfig):
        super().__init__()
        self.patch, self.window = config.swin_patch_size, config.swin_window_size
        self.grid_size = config.grid_size
        # A convolution whose kernel is its stride, as the matrix product that it is; the entries of a patch
        # are (channel, row, column).
        self.projection = FaceSleuthLinear(config.num_channels * self.patch**2, config.swin_embed_dim)
        self.norm_patches = nn.LayerNorm(config.swin_embed_dim, eps=config.layer_norm_eps)
        rates = torch.linspace(0, config.drop_path_rate, sum(config.swin_depths), device="cpu").tolist()
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        for stage, depth in enumerate(config.swin_depths):
            shift = self.window // 2 if config.swin_sides[stage] > self.window else 0
            shifts = [shift * (i % 2) for i in range(depth)]
            layers = [
                FaceSleuthSwinLayer(config, stage, shifts[i - 1] if i else 0, shifts[i], rates.pop(0))
                for i in range(depth)
            ]
            self.stages.append(nn.ModuleList(layers))
            if stage + 1 < len(config.swin_depths):
                self.merges.append(FaceSleuthPatchMerging(config, stage, shifts[-1]))
        last = partial(_back_to_rows, self.grid_size, self.window, shifts[-1])
        self.order = FaceSleuthTable(last)
        self.norm = nn.LayerNorm(config.swin_widths[-1], eps=config.layer_norm_eps)

    def patches(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, 3, S, S)` -> `(B, N, 3 * p * p)`, in the order of the unshifted windows."""
        window, patch = self.window, self.patch
        cut = frames.unflatten(3, (-1, window, patch)).unflatten(2, (-1, window, patch))
        # (B, 3, rows of windows, row, y, columns of windows, column, x)
        return cut.permute(0, 2, 5, 3, 6, 1, 4, 7).flatten(5).flatten(1, 4)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, 3, S, S)` -> `(B, C, grid, grid)`."""
        hidden_states = self.norm_patches(self.projection(self.patches(frames)))
        for stage, layers in enumerate(self.stages):
            for layer in layers:
                hidden_states = layer(hidden_states)
            if stage < len(self.merges):
                hidden_states = self.merges[stage](hidden_states)
        hidden_states = self.norm(hidden_states)[:, self.order()]
        return hidden_states.unflatten(1, (self.grid_size, self.grid_size)).permute(0, 3, 1, 2)


def _back_to_rows(side: int, window: int, before: int) -> torch.Tensor:
    """Places in the order of the last layer's windows, listed row by row."""
    return window_order(side, window, before).argsort()


__all__ = ["FaceSleuthLinear", "FaceSleuthPositionBranch", "FaceSleuthTable", "FaceSleuthWindowAttention"]
