"""FaceSleuth in plain PyTorch (OpenReview mHYkcQzdae; arXiv 2506.02695)."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def conv(width_in: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, bias=False)


class Residual(nn.Module):
    """What the attention blocks share: two convolutions and a shortcut."""

    def __init__(self, width_in, width, stride, eps):
        super().__init__()
        self.preprocess = nn.Sequential(
            conv(width_in, width, 3, stride),
            nn.BatchNorm2d(width, eps),
            nn.ReLU(),
            conv(width, width, 1),
            nn.BatchNorm2d(width, eps),
        )
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(conv(width_in, width, 1, stride), nn.BatchNorm2d(width, eps))

    def features(self, x):
        """`(B, C_in, H, W)` -> `(B, C, H / s, W / s)`, not negative."""
        return F.relu(self.preprocess(x) + (x if self.downsample is None else self.downsample(x)))


class CoordinateBlock(Residual):
    """Coordinate attention; with `vertical` only the gate of the rows reaches the output."""

    def __init__(self, width_in, width, stride, reduction, eps, vertical):
        super().__init__(width_in, width, stride, eps)
        middle = max(8, width_in // reduction)
        self.vertical = vertical
        self.conv1, self.bn1 = nn.Conv2d(width, middle, 1), nn.BatchNorm2d(middle, eps)
        self.conv_h, self.conv_w = nn.Conv2d(middle, width, 1), nn.Conv2d(middle, width, 1)

    def forward(self, x, h, w):
        """Features and the gates of the stage before -> features and gates."""
        u = self.features(x)
        height, width = u.shape[-2:]
        pooled = torch.cat([u.mean(dim=3, keepdim=True), u.mean(dim=2, keepdim=True).transpose(2, 3)], dim=2)
        q = F.hardswish(self.bn1(self.conv1(pooled)))
        q_h, q_w = q.split([height, width], dim=2)
        own_h, own_w = torch.sigmoid(self.conv_h(q_h)), torch.sigmoid(self.conv_w(q_w.transpose(2, 3)))
        h = own_h if h is None else own_h * h
        w = own_w if w is None else own_w * w
        return (u * h if self.vertical else u * w * h), h, w


class OrientationPool(nn.Module):
    """Means along lines of a learned direction."""

    def __init__(self, degrees: float):
        super().__init__()
        angle = math.radians(degrees)
        self.vec = nn.Parameter(torch.tensor([math.cos(angle), math.sin(angle)]))

    def forward(self, u):
        """`(B, C, H, W)` -> `(B, C, H, 1)`."""
        a, b = self.vec / self.vec.norm()
        theta = torch.atan2(b, a)
        theta = torch.where(theta < 0, theta + math.pi, theta)
        zero = torch.zeros_like(theta)
        rows = [torch.stack([theta.cos(), theta.sin(), zero]), torch.stack([-theta.sin(), theta.cos(), zero])]
        turn = torch.stack(rows)[None].expand(len(u), -1, -1)
        grid = F.affine_grid(turn, list(u.shape), align_corners=False)
        turned = F.grid_sample(u, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return turned.mean(dim=3, keepdim=True)


class OrientationBlock(Residual):
    """Single-orientation attention."""

    def __init__(self, width_in, width, stride, reduction, eps, degrees):
        super().__init__(width_in, width, stride, eps)
        middle = max(8, width // reduction)
        self.pool = OrientationPool(degrees)
        self.squeeze, self.excitate = conv(width, middle, 1), conv(middle, width, 1)

    def forward(self, x, h, w):
        """Features and the gates of the stage before -> features and gates."""
        u = self.features(x)
        own = torch.sigmoid(self.excitate(F.relu(self.squeeze(self.pool(u)))))
        h = own if h is None else own * h
        w = h.transpose(2, 3) if w is None else h.transpose(2, 3) * w
        return u * h, h, w


class PlainBlock(nn.Module):
    """MMNet's block: one gate map."""

    def __init__(self, width_in, width, stride, eps):
        super().__init__()
        self.conv1, self.bn1 = conv(width_in, width, 3, stride), nn.BatchNorm2d(width, eps)
        self.conv2, self.bn2 = conv(width, width, 1), nn.BatchNorm2d(width, eps)
        self.attn = nn.Sequential(conv(2, 1, 1), nn.BatchNorm2d(1, eps))
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(conv(width_in, width, 1, stride), nn.BatchNorm2d(width, eps))

    def forward(self, x, a, _):
        """Features and the map of the stage before -> features and map."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        u = F.relu(y + (x if self.downsample is None else self.downsample(x)))
        pooled = torch.cat([u.mean(dim=1, keepdim=True), u.amax(dim=1, keepdim=True)], dim=1)
        own = torch.sigmoid(self.attn(pooled))
        a = own if a is None else own * a
        return u * a, a, None


class MainBranch(nn.Module):
    """Stem's second convolution, four stages, and the classifier."""

    def __init__(self, c, positions):
        super().__init__()
        eps, widths = c["batch_norm_eps"], [c["hidden_sizes"][0], *c["hidden_sizes"]]
        self.single = c["skip_batch_norm_for_single_sample"]
        self.conv1, self.bn1 = conv(c["stem_channels"], widths[0], 3), nn.BatchNorm2d(widths[0], eps)
        for k, stride in enumerate((1, 2, 2, 2)):
            shape, kind = (widths[k], widths[k + 1], stride), c["attention_type"]
            if kind == "ca":
                block = PlainBlock(*shape, eps)
            elif kind == "soa":
                block = OrientationBlock(*shape, c["attention_reduction"], eps, c["soa_initial_angle"])
            else:
                block = CoordinateBlock(*shape, c["attention_reduction"], eps, kind == "cva")
            setattr(self, f"layer{k + 1}", nn.Sequential(block))
        self.conv2 = self.conv3 = None
        if c["attention_type"] != "ca":
            self.conv2, self.conv3 = conv(widths[2], widths[3], 1), conv(widths[3], widths[4], 1)
        first, second = c["fc_hidden_sizes"]
        joined = first + c["num_action_units"]
        self.fc1, self.bn2 = nn.Linear(widths[-1] * positions, first), nn.BatchNorm1d(joined, eps)
        self.fc2, self.bn3 = nn.Linear(joined, second), nn.BatchNorm1d(second, eps)
        self.fc3 = nn.Linear(second, c["num_labels"])

    def _norm(self, norm, x):
        return x if self.single and len(x) == 1 else norm(x)

    def _carry(self, gate, projection):
        """A stage's gate on the next stage's size and width."""
        if gate is None:
            return None
        gate = F.max_pool2d(gate, 3, stride=2, padding=1)
        return gate if projection is None else projection(gate)

    def forward(self, x, position, action_units):
        """Output of the first stem convolution, position embedding, action units -> logits."""
        x, h, w = F.relu(self._norm(self.bn1, self.conv1(x))), None, None
        for k in range(4):
            x, h, w = getattr(self, f"layer{k + 1}")[0](x, h, w)
            if k < 3:
                projection = (None, self.conv2, self.conv3)[k]
                h, w = self._carry(h, projection), self._carry(w, projection)
        z = self.fc1((x + position).flatten(1))
        if action_units is not None:
            z = torch.cat([z, action_units], dim=1)
        z = self.fc2(F.relu(self._norm(self.bn2, z)))
        return self.fc3(self._norm(self.bn3, z))


class WindowAttention(nn.Module):
    """Attention inside windows with learned relative positions."""

    def __init__(self, width, heads, window, bias):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        row, column = (torch.arange(window**2) // window, torch.arange(window**2) % window)
        index = (row[:, None] - row + window - 1) * (2 * window - 1) + (column[:, None] - column + window - 1)
        self.register_buffer("relative_position_index", index)

    def forward(self, x, mask):
        """`(windows, N, C)` -> the same; `mask` `(windows per image, N, N)` is added to the scores."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Feed-forward half of a block."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        """`(..., C)` -> the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Attention inside windows, shifted in every second block, and the feed-forward half."""

    def __init__(self, width, heads, window, shift, side, ratio, bias, eps):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn = WindowAttention(width, heads, window, bias)
        self.mlp = MLP(width, int(width * ratio))
        mask = None
        if shift:
            band = torch.zeros(side, dtype=torch.long)
            band[side - window :], band[side - shift :] = 1, 2
            region = (band[:, None] * 3 + band).view(side // window, window, side // window, window)
            region = region.transpose(1, 2).reshape(-1, window**2)
            mask = torch.where(region[:, :, None] == region[:, None], 0.0, -100.0)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        """`(B, H, W, C)` -> the same."""
        batch, side, _, width = x.shape
        window, count = self.window, side // self.window
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = y.view(batch, count, window, count, window, width).transpose(2, 3).reshape(-1, window**2, width)
        y = self.attn(y, self.mask)
        y = (
            y.view(batch, count, count, window, window, width)
            .transpose(2, 3)
            .reshape(batch, side, side, width)
        )
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours to one of twice the width."""

    def __init__(self, width, eps):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width, eps), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        """`(B, H, W, C)` -> `(B, H / 2, W / 2, 2 C)`."""
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


class SwinStage(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, width, depth, heads, side, last, c):
        super().__init__()
        window, eps = c["swin_window_size"], c["layer_norm_eps"]
        shifts = [0 if i % 2 == 0 or side <= window else window // 2 for i in range(depth)]
        options = (side, c["swin_mlp_ratio"], c["swin_qkv_bias"], eps)
        self.blocks = nn.ModuleList(SwinBlock(width, heads, window, shift, *options) for shift in shifts)
        self.downsample = None if last else PatchMerging(width, eps)

    def forward(self, x):
        """`(B, H, W, C)` -> the input of the next stage."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class SwinPatchEmbed(nn.Module):
    """Patches to normalised vectors."""

    def __init__(self, channels, width, patch, eps):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(channels, width, patch, patch), nn.LayerNorm(width, eps)

    def forward(self, x):
        """`(B, C, S, S)` -> `(B, H, W, width)`."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Swin(nn.Module):
    """The position focalizer."""

    def __init__(self, c):
        super().__init__()
        width, eps = c["swin_embed_dim"], c["layer_norm_eps"]
        side, depths = c["image_size"] // c["swin_patch_size"], c["swin_depths"]
        self.patch_embed = SwinPatchEmbed(c["num_channels"], width, c["swin_patch_size"], eps)
        self.layers = nn.ModuleList(
            SwinStage(width * 2**s, depth, heads, side // 2**s, s == len(depths) - 1, c)
            for s, (depth, heads) in enumerate(zip(depths, c["swin_num_heads"], strict=True))
        )
        self.norm = nn.LayerNorm(width * 2 ** (len(depths) - 1), eps)

    def forward(self, x):
        """`(B, C, S, S)` -> `(B, width, S / 16, S / 16)`."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return self.norm(x).permute(0, 3, 1, 2)


PUBLISHED = {
    "attention_type": "cva",
    "image_size": 224,
    "num_channels": 3,
    "stem_channels": 180,
    "hidden_sizes": (128, 128, 256, 512),
    "fc_hidden_sizes": (512, 128),
    "num_action_units": 21,
    "swin_embed_dim": 128,
    "swin_depths": (2, 2, 6),
    "swin_num_heads": (4, 8, 16),
    "swin_window_size": 7,
    "swin_patch_size": 4,
    "swin_mlp_ratio": 4.0,
    "swin_qkv_bias": True,
    "layer_norm_eps": 1e-5,
    "batch_norm_eps": 1e-5,
    "soa_initial_angle": 72.0,
    "skip_batch_norm_for_single_sample": True,
    "num_labels": 5,
}


class FaceSleuthBaseline(nn.Module):
    """FaceSleuth; see `mer_hf.models.facesleuth.FaceSleuthConfig` for the fields."""

    def __init__(self, **config):
        super().__init__()
        c = PUBLISHED | config
        c.setdefault("attention_reduction", 16 if c["attention_type"] == "soa" else 32)
        self.num_action_units = c["num_action_units"]
        stem = c["stem_channels"]
        self.conv_act = nn.Sequential(
            conv(c["num_channels"], stem, 3, 2), nn.BatchNorm2d(stem, c["batch_norm_eps"])
        )
        self.main_branch = MainBranch(c, (c["image_size"] // 16) ** 2)
        self.swin_pos_224 = Swin(c)

    def forward(self, pixel_values, action_units=None):
        """Onset and apex `(B, 2, 3, S, S)`, action units `(B, N)` -> logits."""
        onset, apex = pixel_values.unbind(1)
        if self.num_action_units and action_units is None:
            action_units = onset.new_zeros(len(onset), self.num_action_units)
        motion = F.relu(self.conv_act(apex - onset))
        position = self.swin_pos_224(torch.cat([onset, apex]))
        position = position[: len(onset)] + position[len(onset) :]
        return self.main_branch(motion, position, action_units if self.num_action_units else None)
