"""MMNet in plain PyTorch (arXiv 2201.05297)."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(width_in: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, bias=False)


class CABlock(nn.Module):
    """A residual block whose output is gated by one map, carried from block to block."""

    def __init__(self, width_in: int, width: int, stride: int, eps: float):
        super().__init__()
        self.conv1, self.bn1 = conv(width_in, width, 3, stride), nn.BatchNorm2d(width, eps)
        self.conv2, self.bn2 = conv(width, width, 1), nn.BatchNorm2d(width, eps)
        self.attn = nn.Sequential(conv(2, 1, 1), nn.BatchNorm2d(1, eps))
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(conv(width_in, width, 1, stride), nn.BatchNorm2d(width, eps))

    def forward(self, x, previous):
        """Features and the map of the block before -> features and this block's map."""
        residual = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y = F.relu(y + residual)
        pooled = torch.cat([y.mean(dim=1, keepdim=True), y.amax(dim=1, keepdim=True)], dim=1)
        gate = torch.sigmoid(self.attn(pooled))
        if previous is not None:
            gate = gate * F.max_pool2d(previous, 3, stride=2, padding=1)
        return y * gate, gate


class MainBranch(nn.Module):
    """Second stem convolution, four blocks, and the classifier."""

    def __init__(self, stem, hidden_sizes, strides, positions, num_labels, eps):
        super().__init__()
        self.conv1, self.bn1 = conv(stem[0], stem[1], 3), nn.BatchNorm2d(stem[1], eps)
        widths = [stem[1], *hidden_sizes]
        for i, stride in enumerate(strides):
            block = CABlock(widths[i], widths[i + 1], stride, eps)
            setattr(self, f"layer{i + 1}", nn.Sequential(block))
        self.depth = len(strides)
        self.fc = nn.Linear(hidden_sizes[-1] * positions, num_labels)

    def forward(self, x, position):
        """Output of the first stem convolution and position embedding -> logits."""
        x, gate = F.relu(self.bn1(self.conv1(x))), None
        for i in range(self.depth):
            x, gate = getattr(self, f"layer{i + 1}")[0](x, gate)
        return self.fc((x + position).flatten(1))


class Attention(nn.Module):
    """Self attention."""

    def __init__(self, width: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Feed-forward half of a layer."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width, heads, ratio, bias, eps):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn, self.mlp = Attention(width, heads, bias), MLP(width, int(width * ratio))

    def forward(self, x):
        """`(B, N, C)` -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Every pixel to a vector."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, 1)

    def forward(self, x):
        """`(B, C, H, W)` -> `(B, N, width)`."""
        return self.proj(x).flatten(2).transpose(1, 2)


class PositionBranch(nn.Module):
    """A small vision transformer on the reduced onset frame."""

    def __init__(self, channels, width, grid, layers, heads, ratio, bias, eps):
        super().__init__()
        self.patch_embed = PatchEmbed(channels, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid**2, width))
        self.blocks = nn.Sequential(*[Block(width, heads, ratio, bias, eps) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x):
        """`(B, C, grid, grid)` -> `(B, width, grid, grid)`."""
        grid = x.shape[-1]
        x = self.norm(self.blocks(self.patch_embed(x) + self.pos_embed))
        return x.transpose(1, 2).unflatten(2, (grid, grid))


class MMNetBaseline(nn.Module):
    """MMNet; see `mer_hf.models.mmnet.MMNetConfig` for the fields."""

    def __init__(
        self,
        image_size: int = 224,
        num_channels: int = 3,
        stem_channels: tuple[int, int] = (180, 128),
        hidden_sizes: tuple[int, ...] = (128, 128, 256, 512),
        strides: tuple[int, ...] = (1, 2, 2, 2),
        num_hidden_layers: int = 2,
        num_attention_heads: int = 4,
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        layer_norm_eps: float = 1e-6,
        batch_norm_eps: float = 1e-5,
        resize_antialias: bool = False,
        num_labels: int = 5,
    ):
        super().__init__()
        self.grid, self.antialias = image_size // 16, resize_antialias
        self.conv_act = nn.Sequential(
            conv(num_channels, stem_channels[0], 3, 2), nn.BatchNorm2d(stem_channels[0], batch_norm_eps)
        )
        self.main_branch = MainBranch(
            stem_channels, hidden_sizes, strides, self.grid**2, num_labels, batch_norm_eps
        )
        self.vit_pos = PositionBranch(
            num_channels,
            hidden_sizes[-1],
            self.grid,
            num_hidden_layers,
            num_attention_heads,
            mlp_ratio,
            qkv_bias,
            layer_norm_eps,
        )

    def forward(self, pixel_values):
        """Onset and apex `(B, 2, 3, S, S)` -> logits."""
        onset, apex = pixel_values.unbind(1)
        size = (self.grid, self.grid)
        small = F.interpolate(onset, size, mode="bilinear", antialias=self.antialias)
        motion = F.relu(self.conv_act(apex - onset))
        return self.main_branch(motion, self.vit_pos(small))
