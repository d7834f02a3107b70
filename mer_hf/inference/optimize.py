"""Makes a loaded network quick for inference, with the same answers up to rounding.

Model files hold plain layers. What makes them quicker is done here, on a copy: batch norms become a part of
the convolutions before them, products of weights are computed once, oneDNN computes linear layers, and large
batches go through in parts that fit the processor's cache.
"""

import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_map, tree_map_only
from transformers import PreTrainedModel
from transformers.activations import GELUActivation
from transformers.models.swin.modeling_swin import (
    SwinAttention,
    SwinLayer,
    SwinPatchEmbeddings,
    window_partition,
)

from mer_hf.models.hsta.modeling_hsta import HSTACrossAttention, HSTASelfAttention
from mer_hf.models.htnet.modeling_htnet import HTNetAttention

SAMPLES_AT_ONCE = {
    "hsta": {"": 2},
    "mmnet": {"motion_branch": 2},
    "facesleuth": {"motion_branch": 1, "position_branch": 2},
}
"""Model type -> part of its base model -> samples that go through it together on a CPU."""

FEW_PARAMETERS = 5_000_000
"""Networks with fewer, as the bundled ones, take a batch at once: all of it fits in the cache."""

MANY_WEIGHTS, FEW_TOKENS = 2**18, 256
"""oneDNN's product is the quicker one where weights of so many numbers are read for up to so many tokens."""

MANY_OUTPUTS = 2**16
"""From so many on it pays that oneDNN applies a GELU to what is still in the cache."""

PLAIN = ("torch.nn.modules.", "transformers.activations", "transformers.models.", "mer_hf.models.")
"""Where the classes of layers come from that nobody has wrapped or quantized."""


def optimize_for_inference(model: nn.Module) -> nn.Module:
    """Return a quicker copy of a network for inference; its logits differ by less than 1e-5 of the largest.

    Layers that are wrapped (PEFT), quantized, offloaded or have hooks stay as they are. What only pays on a
    CPU in float32 is left out elsewhere.

    Args:
        model (`nn.Module`): A network, already on its device and in its dtype. It is not changed.

    Returns:
        `nn.Module`: In evaluation mode. It shares the weights of `model`, so a later change of these may or
        may not reach it. It answers as `model` does, gradients with respect to inputs included, but is not
        meant to be trained or saved.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, shared).eval()
    fold_batch_norms(model)
    cut_patches_channels_last(model)
    fold_query_and_value_bias(model)
    if getattr(getattr(model, "config", None), "tokens_per_block", None) == 1:
        replace(model, HTNetAttention, OneTokenAttention)
    replace(model, HSTACrossAttention, OneQueryAttention)
    replace(model, SwinLayer, WindowLayer)
    replace(model, SwinAttention, WindowAttention)
    if next(model.parameters()).device.type == "cpu":
        use_onednn(model)
        split_batches(model)
    return model


def is_plain(module: nn.Module) -> bool:
    """Return whether no part of a module is wrapped, quantized, offloaded or has a hook."""
    for part in module.modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        if any(hooks) or "forward" in vars(part) or not type(part).__module__.startswith(PLAIN):
            return False
    return all(type(p) is nn.Parameter and p.device.type != "meta" for p in module.parameters())


def replace(model: nn.Module, kind: type[nn.Module], build: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every plain module that is exactly a `kind` by what `build` makes of it."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is kind and is_plain(child):
                setattr(parent, name, build(child).eval())


def linear_of(
    weight: nn.Parameter, bias: nn.Parameter | None, kind: type[nn.Linear] = nn.Linear
) -> nn.Linear:
    """Return a linear layer with these weights."""
    linear = kind(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight, linear.bias = weight, bias
    return linear


class OneTokenAttention(nn.Module):
    """Stands for an `HTNetAttention` that sees one token, whose weight is always 1: one product does."""

    def __init__(self, attention: HTNetAttention):
        super().__init__()
        self.num_heads = attention.num_heads
        value, projection = attention.qkv.weight.detach().chunk(3)[2], attention.projection
        merged = projection.weight.detach().double() @ value.double()
        self.linear = linear_of(nn.Parameter(merged.to(value.dtype)), projection.bias)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> tuple:
        """Return what `HTNetAttention` returns."""
        weights = hidden_states.new_ones(len(hidden_states), self.num_heads, 1, 1)
        return self.linear(hidden_states), weights if output_attentions else None


def fold_query_and_value_bias(model: nn.Module) -> None:
    """Make the two bias vectors of HSTA's attention the bias of its linear layer."""
    for attention in model.modules():
        if type(attention) is HSTASelfAttention and attention.query_bias is not None and is_plain(attention):
            query_bias, value_bias = attention.query_bias.detach(), attention.value_bias.detach()
            bias = nn.Parameter(torch.cat([query_bias, torch.zeros_like(query_bias), value_bias]))
            attention.qkv = linear_of(attention.qkv.weight, bias)
            attention.query_bias = attention.value_bias = None


class OneQueryAttention(nn.Module):
    """Stands for an `HSTACrossAttention`, and spares it the keys and values of every token.

    There is a single query, so it is carried through the keys' matrix instead, and the weighted mean of the
    tokens through the values'. A bias of the keys adds the same to every score, so it has no effect.
    """

    def __init__(self, attention: HSTACrossAttention):
        super().__init__()
        self.num_heads, self.scaling = attention.num_heads, attention.scaling
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        self.projection = attention.projection

    def forward(self, asking: torch.Tensor, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `HSTACrossAttention` returns."""
        key, value = (each.weight.unflatten(0, (self.num_heads, -1)) for each in (self.key, self.value))
        query = self.query(asking)[:, 0].unflatten(1, (self.num_heads, -1)) * self.scaling
        carried = torch.einsum("bhd,hdc->bhc", query, key)
        scores = [torch.matmul(carried, tokens.transpose(1, 2)) for tokens in (asking, patches)]
        weights = torch.cat(scores, dim=2)[:, :, None].softmax(dim=-1)  # (B, heads, 1, 1 + N)
        own, others = weights[:, :, 0].split((1, patches.shape[1]), dim=2)
        mean = own * asking + torch.matmul(others, patches)  # (B, heads, C)
        context = torch.einsum("bhc,hdc->bhd", mean, value)
        if self.value.bias is not None:  # the weights sum to 1, but relevance asks for their gradient
            context = context + weights.sum(dim=-1) * self.value.bias.unflatten(0, (self.num_heads, -1))
        return self.projection(context.flatten(1)[:, None]), weights


class WindowAttention(nn.Module):
    """Stands for a `SwinAttention`: one product for queries, keys and values, and the bias looked up once."""

    def __init__(self, attention: SwinAttention):
        super().__init__()
        self.head_dim = attention.head_dim
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        weight = torch.cat([projection.weight.detach() for projection in projections])
        biased = attention.q_proj.bias is not None
        bias = torch.cat([projection.bias.detach() for projection in projections]) if biased else None
        self.qkv = linear_of(nn.Parameter(weight), nn.Parameter(bias) if biased else None)
        self.projection = attention.o_proj
        self.register_buffer("bias", attention.relative_position_bias().detach().contiguous())

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs):
        """Return what `SwinAttention` returns, without weights."""
        query, key, value = (
            self.qkv(hidden_states).unflatten(2, (3, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        )  # each (B * windows, heads, tokens, head_dim)
        bias = self.bias
        if attention_mask is not None:
            images = len(hidden_states) // len(attention_mask)
            bias = (bias + attention_mask[:, None]).repeat(images, 1, 1, 1)
        context = F.scaled_dot_product_attention(query, key, value, bias)
        return self.projection(context.transpose(1, 2).flatten(2)), None


class WindowLayer(nn.Module):
    """Stands for a `SwinLayer`: one gather brings the tokens of a grid into the order of its windows."""

    def __init__(self, layer: SwinLayer):
        super().__init__()
        self.norm, self.attention = layer.layernorm_before, layer.attention
        self.mlp_norm, self.mlp = layer.layernorm_after, layer.mlp
        layer.set_shift_and_window_size(layer.input_resolution)
        weight = self.norm.weight
        places = torch.arange(math.prod(layer.input_resolution), device=weight.device)
        grid = places.view(1, *layer.input_resolution, 1)
        order = window_partition(layer.cyclic_shift(grid), layer.window_size).flatten(1)
        self.windows = order.shape
        self.register_buffer("order", order.flatten())
        self.register_buffer("back", order.flatten().argsort())
        self.register_buffer(
            "mask", layer.get_attn_mask(*layer.input_resolution, weight.dtype, weight.device)
        )

    def forward(self, hidden_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, None]:
        """Return what `SwinLayer` returns, without weights."""
        windows = self.norm(hidden_states)[:, self.order].unflatten(1, self.windows).flatten(0, 1)
        attended, _ = self.attention(windows, self.mask)
        hidden_states = hidden_states + attended.view(hidden_states.shape)[:, self.back]
        return hidden_states + self.mlp(self.mlp_norm(hidden_states)), None


def fold_batch_norms(model: nn.Module) -> None:
    """Make each batch norm a part of the convolution before it, and let the ReLU behind work in place.

    The maps then have the channels of a position side by side, which is quicker.
    """
    for block in model.modules():
        layers = getattr(block, "convolution", None), getattr(block, "normalization", None)
        if tuple(map(type, layers)) == (nn.Conv2d, nn.BatchNorm2d) and all(map(is_plain, layers)):
            block.convolution = fuse_conv_bn_eval(*layers).to(memory_format=torch.channels_last)
            block.normalization = nn.Identity()
        activation = getattr(block, "activation", None)
        if type(activation) is nn.ReLU and is_plain(activation):
            activation.inplace = True


def cut_patches_channels_last(model: nn.Module) -> None:
    """Let Swin's convolution give the tokens' channels side by side, as the layers behind read them."""
    for block in model.modules():
        if type(block) is SwinPatchEmbeddings and is_plain(block):
            weight = block.projection.weight.detach().to(memory_format=torch.channels_last)
            block.projection.weight = nn.Parameter(weight)


class OneDNNLinear(nn.Linear):
    """A linear layer, with the GELU behind it if there is one, that oneDNN computes without gradients.

    With few tokens oneDNN reads large weights twice as fast as PyTorch's own matrix product, and with many it
    applies the GELU to what is still in the cache. A call costs more, so small layers stay with PyTorch.
    """

    gelu = False

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(..., C)` -> `(..., out_features)`."""
        tokens = hidden_states.shape[:-1].numel()
        quick = tokens <= FEW_TOKENS and self.weight.numel() >= MANY_WEIGHTS
        quick |= self.gelu and tokens * self.out_features >= MANY_OUTPUTS
        quick &= hidden_states.device.type == "cpu" and hidden_states.dtype == torch.float32
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not quick:
            hidden_states = F.linear(hidden_states, self.weight, self.bias)
            return F.gelu(hidden_states) if self.gelu else hidden_states
        behind = "gelu" if self.gelu else "none"
        return torch.ops.mkldnn._linear_pointwise(hidden_states, self.weight, self.bias, behind, [], "none")


def use_onednn(model: nn.Module) -> None:
    """Let oneDNN compute linear layers in float32, where PyTorch was built with it."""
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if not known or next(model.parameters()).dtype != torch.float32:
        return
    replace(model, nn.Linear, lambda linear: linear_of(linear.weight, linear.bias, OneDNNLinear))
    for mlp in model.modules():  # fc2(activation(fc1(...))), in Swin with the name activation_fn
        if not type(mlp).__name__.endswith("MLP") or not type(mlp).__module__.startswith(PLAIN):
            continue
        name = "activation" if hasattr(mlp, "activation") else "activation_fn"
        activation = getattr(mlp, name)
        if type(mlp.fc1) is OneDNNLinear and type(activation) is GELUActivation and is_plain(activation):
            mlp.fc1.gelu = True
            setattr(mlp, name, nn.Identity())


def split_batches(model: nn.Module) -> None:
    """Compute large batches in parts, so that what lies between layers stays in the cache."""
    if not isinstance(model, PreTrainedModel) or model.num_parameters() < FEW_PARAMETERS:
        return
    for name, samples in SAMPLES_AT_ONCE.get(model.config.model_type, {}).items():
        part = model.base_model.get_submodule(name)
        if "forward" not in vars(part):
            part.forward = partial(in_parts, part.forward, samples)


def in_parts(forward: Callable, samples: int, *args, **kwargs):
    """Call `forward` on a few samples at a time and join its outputs; not where gradients are wanted."""
    count = next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    if count <= samples or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return forward(*args, **kwargs)

    def part(first: int) -> tuple[tuple, dict]:
        return tree_map_only(torch.Tensor, lambda each: each[first : first + samples], (args, kwargs))

    parts = (part(first) for first in range(0, count, samples))
    outputs = [forward(*some, **named) for some, named in parts]
    return tree_map(lambda *each: torch.cat(each), *outputs)
