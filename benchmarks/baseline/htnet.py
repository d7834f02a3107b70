"""HTNet in plain PyTorch (arXiv 2307.14637)."""

import torch
from torch import nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Norm over the channels of each position."""

    def __init__(self, width: int):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x):
        """`(B, C, H, W)` -> the same."""
        mean = x.mean(dim=1, keepdim=True)
        variance = x.var(dim=1, unbiased=False, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.g + self.b


class PreNorm(nn.Module):
    """`x + fn(norm(x))`."""

    def __init__(self, width: int, fn: nn.Module):
        super().__init__()
        self.norm = ChannelNorm(width)
        self.fn = fn

    def forward(self, x):
        """`(B, C, H, W)` -> the same."""
        return x + self.fn(self.norm(x))


class Attention(nn.Module):
    """Attention among the positions of a map."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        inner = heads * self.head_size
        self.to_qkv = nn.Conv2d(width, 3 * inner, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(inner, width, 1))

    def forward(self, x):
        """`(B, C, H, W)` -> the same."""
        height, width = x.shape[-2:]
        qkv = self.to_qkv(x).flatten(2).unflatten(1, (3, self.heads, self.head_size))
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # each (B, heads, tokens, head_size)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(-1, -2).flatten(1, 2).unflatten(2, (height, width)))


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(width, ratio * width, 1),
            nn.GELU(),
            nn.Identity(),
            nn.Conv2d(ratio * width, width, 1),
        )

    def forward(self, x):
        """`(B, C, H, W)` -> the same."""
        return self.net(x)


class Transformer(nn.Module):
    """The layers of one hierarchy, inside blocks."""

    def __init__(self, width: int, depth: int, heads: int, ratio: int, tokens: int):
        super().__init__()
        self.pos_emb = nn.Parameter(torch.randn(tokens))
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [PreNorm(width, Attention(width, heads)), PreNorm(width, FeedForward(width, ratio))]
            )
            for _ in range(depth)
        )

    def forward(self, x):
        """`(blocks, C, H, W)` -> the same."""
        x = x + self.pos_emb.view(1, 1, *x.shape[-2:])
        for attention, feed_forward in self.layers:
            x = feed_forward(attention(x))
        return x


class HTNetBaseline(nn.Module):
    """HTNet; see `mer_hf.models.htnet.HTNetConfig` for the fields."""

    def __init__(
        self,
        image_size: int = 28,
        patch_size: int = 7,
        num_channels: int = 3,
        hidden_size: int = 256,
        num_attention_heads: int = 3,
        depths: tuple[int, ...] = (2, 2, 10),
        mlp_ratio: int = 4,
        num_labels: int = 3,
    ):
        super().__init__()
        self.patch_size, self.levels = patch_size, len(depths)
        in_block = image_size // patch_size // 2 ** (self.levels - 1)
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.Conv2d(patch_size**2 * num_channels, hidden_size, 1)
        )
        self.layers = nn.ModuleList()
        for level, depth in enumerate(depths):
            width, last = hidden_size * 2**level, level == self.levels - 1
            heads = num_attention_heads * 2**level
            transformer = Transformer(width, depth, heads, mlp_ratio, in_block**2)
            aggregate = nn.Identity()
            if not last:
                aggregate = nn.Sequential(
                    nn.Conv2d(width, 2 * width, 3, padding=1),
                    ChannelNorm(2 * width),
                    nn.MaxPool2d(3, stride=2, padding=1),
                )
            self.layers.append(nn.ModuleList([transformer, aggregate]))
        self.mlp_head = nn.Sequential(ChannelNorm(width), nn.Identity(), nn.Linear(width, num_labels))

    def forward(self, pixel_values):
        """Flow maps `(B, C, S, S)` -> logits."""
        p = self.patch_size
        x = pixel_values.unflatten(2, (-1, p)).unflatten(4, (-1, p))  # (B, C, f, p, f, p)
        x = x.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)  # (B, p * p * C, f, f)
        x = self.to_patch_embedding(x)
        for level, (transformer, aggregate) in enumerate(self.layers):
            blocks = 2 ** (self.levels - 1 - level)
            batch = x.shape[0]
            x = x.unflatten(2, (blocks, -1)).unflatten(4, (blocks, -1))  # (B, C, b, n, b, n)
            x = x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
            x = transformer(x)
            x = x.unflatten(0, (batch, blocks, blocks)).permute(0, 3, 1, 4, 2, 5)
            x = x.flatten(4, 5).flatten(2, 3)
            x = aggregate(x)
        norm, _, classifier = self.mlp_head
        return classifier(norm(x).mean(dim=(2, 3)))
