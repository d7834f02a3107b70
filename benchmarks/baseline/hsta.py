"""HSTA in plain PyTorch (arXiv 2405.03202)."""

import torch
from torch import nn
from torch.nn import functional as F


def position_table(tokens: int, width: int) -> torch.Tensor:
    """Sines and cosines over the token index, `(1, tokens, width)`."""
    index = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] / 10000 ** (2 * (index // 2) / width)
    return torch.where(index % 2 == 0, angle.sin(), angle.cos()).float()[None]


class PatchEmbed(nn.Module):
    """Tubelets of two frames to vectors."""

    def __init__(self, channels, width, tubelet, patch):
        super().__init__()
        kernel = (tubelet, patch, patch)
        self.proj = nn.Conv3d(channels, width, kernel, kernel)

    def forward(self, x):
        """`(B, 3, T, H, W)` -> `(B, N, C)`."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self attention whose key has no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Feed-forward half of a block."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Unimodal space-time attention: one pre-norm block over all tokens of a branch."""

    def __init__(self, width, heads, ratio, eps):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn, self.mlp = Attention(width, heads), MLP(width, int(width * ratio))

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossAttention(nn.Module):
    """The first token asks all tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        """`(B, N, C)` -> `(B, 1, C)`."""
        projected = (self.wq(x[:, :1]), self.wk(x), self.wv(x))
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in projected)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Fusion(nn.Module):
    """Crossmodal attention with its residual."""

    def __init__(self, width, heads, eps):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps), CrossAttention(width, heads)

    def forward(self, x):
        """`(B, N, C)` -> `(B, 1, C)`."""
        return x[:, :1] + self.attn(self.norm1(x))


def projection(width_in: int, width: int, eps: float) -> nn.Sequential:
    """Norm, GELU, linear."""
    return nn.Sequential(nn.LayerNorm(width_in, eps), nn.GELU(), nn.Linear(width_in, width))


class Stage(nn.Module):
    """Blocks of both branches, then the exchange of their first tokens."""

    def __init__(self, widths, heads, depths, ratio, eps):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*[Block(widths[d], heads[d], ratio, eps) for _ in range(depths[d])]) for d in (0, 1)
        )
        self.projs = nn.ModuleList(projection(widths[d], widths[1 - d], eps) for d in (0, 1))
        self.fusion = nn.ModuleList(Fusion(widths[1 - d], heads[1 - d], eps) for d in (0, 1))
        self.revert_projs = nn.ModuleList(projection(widths[1 - d], widths[d], eps) for d in (0, 1))

    def forward(self, branches):
        """Two token tensors -> two token tensors."""
        branches = [blocks(x) for blocks, x in zip(self.blocks, branches, strict=True)]
        exchanged = []
        for d in (0, 1):
            asking = self.projs[d](branches[d][:, :1])
            fused = self.fusion[d](torch.cat([asking, branches[1 - d][:, 1:]], dim=1))
            exchanged.append(torch.cat([self.revert_projs[d](fused), branches[d][:, 1:]], dim=1))
        return exchanged


class HSTABaseline(nn.Module):
    """HSTA; see `mer_hf.models.hsta.HSTAConfig` for the fields."""

    def __init__(
        self,
        image_size: int = 224,
        patch_sizes: tuple[int, int] = (12, 16),
        num_channels: int = 3,
        num_frames: int = 6,
        num_key_frames: int = 2,
        tubelet_size: int = 2,
        hidden_sizes: tuple[int, int] = (384, 768),
        num_attention_heads: tuple[int, int] = (12, 12),
        depths: tuple[tuple[int, int], ...] = ((1, 2), (1, 2), (1, 2), (1, 2)),
        mlp_ratio: float = 4,
        layer_norm_eps: float = 1e-6,
        pooling: str = "cls",
        num_labels: int = 7,
    ):
        super().__init__()
        self.num_frames, self.pooling = num_frames, pooling
        self.patch_embed = nn.ModuleList(
            PatchEmbed(num_channels, width, tubelet_size, patch)
            for width, patch in zip(hidden_sizes, patch_sizes, strict=True)
        )
        self.cls_token = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, width)) for width in hidden_sizes)
        for d, frames in enumerate((num_key_frames, num_frames)):
            tokens = frames // tubelet_size * (image_size // patch_sizes[d]) ** 2
            table = position_table(tokens + 1, hidden_sizes[d])
            self.register_buffer(f"positions_{d}", table, persistent=False)
        self.blocks = nn.ModuleList(
            Stage(hidden_sizes, num_attention_heads, depth, mlp_ratio, layer_norm_eps) for depth in depths
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width, layer_norm_eps) for width in hidden_sizes)
        self.head = nn.Linear(sum(hidden_sizes) * (2 if pooling == "cls_last" else 1), num_labels)

    def forward(self, pixel_values):
        """Sampled frames, onset, apex `(B, T + 2, 3, S, S)` -> logits."""
        frames = pixel_values.transpose(1, 2)  # (B, 3, T + 2, S, S)
        clips = (frames[:, :, self.num_frames :], frames[:, :, : self.num_frames])
        branches = []
        for d, clip in enumerate(clips):
            x = self.patch_embed[d](clip)
            x = torch.cat([self.cls_token[d].expand(len(x), -1, -1), x], dim=1)
            branches.append(x + getattr(self, f"positions_{d}"))
        for stage in self.blocks:
            branches = stage(branches)
        branches = [norm(x) for norm, x in zip(self.norm, branches, strict=True)]
        if self.pooling == "mean":
            pooled = [x.mean(dim=1) for x in branches]
        else:
            pooled = [x[:, 0] for x in branches]
            if self.pooling == "cls_last":
                pooled += [x[:, -1] for x in branches]
        return self.head(torch.cat(pooled, dim=1))
