"""Layers with a weight per fold, for tensors whose first dimension is the fold.

`vmap` finds a stacked form of every operation by itself, but not the best: gradients of weights come out
transposed and are copied, a convolution becomes a grouped one, and biases and norms take passes of their own.
"""

from collections.abc import Callable

import torch
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _Linear(Function):
    @staticmethod
    def forward(ctx, hidden_states, weight, bias):
        rows = hidden_states.reshape(len(weight), -1, weight.shape[-1])  # (folds, n, in)
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        flat = weight.mT
        output = torch.bmm(rows, flat) if bias is None else torch.baddbmm(bias[:, None], rows, flat)
        return output.view(*hidden_states.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        shape = gradient.shape[:-1]
        gradient = gradient.reshape(len(weight), -1, weight.shape[1])
        of_input = torch.bmm(gradient, weight).view(*shape, -1) if ctx.needs_input_grad[0] else None
        of_bias = gradient.sum(1) if ctx.has_bias else None
        return of_input, torch.bmm(gradient.mT, rows), of_bias


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx, hidden_states, weight, bias, epsilon):
        shape = weight.shape[1:]
        normed, mean, deviation = torch.native_layer_norm(hidden_states, shape, None, None, epsilon)
        weight = _beside(weight, hidden_states)
        ctx.save_for_backward(hidden_states, normed, mean, deviation, weight)
        return torch.addcmul(_beside(bias, hidden_states), normed, weight)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states, normed, mean, deviation, weight = ctx.saved_tensors
        shape = hidden_states.shape[-1:]
        between = tuple(range(1, gradient.ndim - 1))
        of_input, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient * weight, hidden_states, shape, mean, deviation, None, None, [True, False, False]
        )
        return of_input, (gradient * normed).sum(between), gradient.sum(between), None


def _beside(weight: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    """`(folds, C)` -> `(folds, 1, ..., 1, C)`."""
    return weight.view(len(weight), *[1] * (hidden_states.ndim - 2), -1)


class _Convolution(Function):
    """A convolution that keeps the size of its map, as matrix products of rows of the map.

    On maps of 4 x 4 and 2 x 2 much of what a kernel of 3 x 3 covers lies outside. Rows outside are never
    multiplied; within a row, a narrow map takes one matrix from row to row, and a wider one its windows.
    """

    @staticmethod
    def forward(ctx, maps, weight, bias):
        taps = _Taps(maps, weight)
        rows, matrices = taps.rows(maps), taps.matrices(weight)
        ctx.taps = taps
        ctx.save_for_backward(rows, *matrices)
        output = torch.baddbmm(
            bias.repeat(1, taps.tokens)[:, None], rows.flatten(1, 2), matrices[taps.edge].mT
        ).unflatten(1, (taps.height, -1))
        for matrix, to, of in taps.outer(matrices):
            output[:, to].flatten(1, 2).baddbmm_(rows[:, of].flatten(1, 2), matrix.mT)
        return taps.to_maps(output)

    @staticmethod
    def backward(ctx, gradient):
        taps, (rows, *matrices) = ctx.taps, ctx.saved_tensors
        gradient = taps.of_maps(gradient)  # (folds, height, n, out)
        of_bias = gradient.flatten(1, 2).sum(1).unflatten(1, (taps.tokens, -1)).sum(1)
        whole = gradient.flatten(1, 2)
        of_rows = torch.bmm(whole, matrices[taps.edge]).unflatten(1, (taps.height, -1))
        of_matrices = [torch.bmm(whole.mT, rows.flatten(1, 2))] * taps.kernel
        for place, (matrix, to, of) in zip(taps.outer_places(), taps.outer(matrices), strict=True):
            part = gradient[:, to].flatten(1, 2)
            of_rows[:, of].flatten(1, 2).baddbmm_(part, matrix)
            of_matrices[place] = torch.bmm(part.mT, rows[:, of].flatten(1, 2))
        return taps.rows_back(of_rows), taps.matrices_back(of_matrices), of_bias


class _Taps:
    """How the rows of a map and the kernel of a convolution meet; shapes only."""

    def __init__(self, maps: torch.Tensor, weight: torch.Tensor):
        self.folds, self.batch, self.channels, self.height, self.width = maps.shape
        self.out, self.kernel = weight.shape[1], weight.shape[-1]
        self.edge = self.kernel // 2
        self.narrow = self.width < self.kernel  # a whole row is less than its windows
        self.tokens = self.width if self.narrow else 1

    def outer_places(self) -> list[int]:
        """Rows of the kernel that meet the map, but for the middle one."""
        return [y for y in range(self.kernel) if y != self.edge and abs(y - self.edge) < self.height]

    def outer(self, matrices):
        """Their matrices, and the rows of the map that each leads to and from."""
        for y in self.outer_places():
            shift = y - self.edge
            to = slice(max(0, -shift), self.height - max(0, shift))
            yield matrices[y], to, slice(to.start + shift, to.stop + shift)

    def rows(self, maps: torch.Tensor) -> torch.Tensor:
        """`(folds, B, C, H, W)` -> `(folds, H, B, W * C)` or windows `(folds, H, B * W, kernel * C)`."""
        rows = maps.permute(0, 3, 1, 4, 2)
        if self.narrow:
            return rows.reshape(self.folds, self.height, self.batch, -1)
        windows = rows.new_zeros(*rows.shape[:4], self.kernel, self.channels)
        for x, to, of in self._shifts():
            windows[:, :, :, to, x] = rows[:, :, :, of]
        return windows.view(self.folds, self.height, self.batch * self.width, -1)

    def rows_back(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of `rows`."""
        if self.narrow:
            rows = gradient.view(self.folds, self.height, self.batch, self.width, -1)
        else:
            shape = (self.folds, self.height, self.batch, self.width, self.kernel, self.channels)
            gradient = gradient.view(shape)
            rows = gradient[..., self.edge, :].clone()
            for x, to, of in self._shifts():
                if x != self.edge:
                    rows[:, :, :, of] += gradient[:, :, :, to, x]
        return rows.permute(0, 2, 4, 1, 3)

    def _shifts(self):
        for x in range(self.kernel):
            shift = x - self.edge
            to = slice(max(0, -shift), max(0, self.width - max(0, shift)))
            yield x, to, slice(to.start + shift, to.stop + shift)

    def matrices(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """`(folds, out, C, kernel, kernel)` -> for each row of the kernel what a row is multiplied by."""
        weight = weight.permute(0, 1, 3, 4, 2).contiguous()  # (folds, out, kernel, kernel, C)
        if not self.narrow:
            return [matrix.flatten(2) for matrix in weight.unbind(2)]
        pairs = self._pairs()
        shape = (self.folds, self.kernel, self.width, self.out, self.width, self.channels)
        filled = len(pairs) == self.width**2
        matrices = weight.new_empty(shape) if filled else weight.new_zeros(shape)
        for to, of, x in pairs:
            matrices[:, :, to, :, of] = weight[:, :, :, x].transpose(1, 2)
        return list(matrices.flatten(4, 5).flatten(2, 3).unbind(1))

    def matrices_back(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """The gradient of `matrices`, channels last in memory."""
        shape = (self.folds, self.out, self.kernel, self.kernel, self.channels)
        met = [self.edge, *self.outer_places()]
        weight = gradients[0].new_zeros(shape) if len(met) < self.kernel else gradients[0].new_empty(shape)
        for y in met:
            if not self.narrow:
                weight[:, :, y] = gradients[y].view(self.folds, self.out, self.kernel, self.channels)
                continue
            blocks = gradients[y].view(self.folds, self.width, self.out, self.width, self.channels)
            for x in range(self.kernel):
                parts = [blocks[:, to, :, of] for to, of, place in self._pairs() if place == x]
                weight[:, :, y, x] = sum(parts[1:], parts[0]) if parts else 0
        return weight.permute(0, 1, 4, 2, 3)

    def _pairs(self):
        """Places in a row that lead to one another, and the column of the kernel between them."""
        places = range(self.width)
        pairs = [(to, of, of - to + self.edge) for to in places for of in places]
        return [pair for pair in pairs if 0 <= pair[2] < self.kernel]

    def to_maps(self, rows: torch.Tensor) -> torch.Tensor:
        """`(folds, H, n, tokens * out)` -> `(folds, B, out, H, W)`."""
        rows = rows.view(self.folds, self.height, self.batch, self.width, self.out)
        return rows.permute(0, 2, 4, 1, 3)

    def of_maps(self, maps: torch.Tensor) -> torch.Tensor:
        """The reverse of `to_maps`."""
        rows = maps.permute(0, 3, 1, 4, 2)
        return rows.reshape(self.folds, self.height, -1, self.tokens * self.out)


def _mapped(stacked: type[Function]) -> Callable:
    """A function that can be called under `vmap`, and then does all folds at once."""

    class Mapped(Function):
        @staticmethod
        def forward(*args):
            raise NotImplementedError("stacked layers are called under vmap only")

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def vmap(info, in_dims, *args):
            given = [
                arg
                if not isinstance(arg, torch.Tensor)
                else arg.expand(info.batch_size, *arg.shape)
                if dim is None
                else arg.movedim(dim, 0)
                for arg, dim in zip(args, in_dims, strict=True)
            ]
            return stacked.apply(*given), 0

    return Mapped.apply


_linear, _layer_norm, _convolution = map(_mapped, (_Linear, _LayerNorm, _Convolution))


class StackedLayers(TorchFunctionMode):
    """While it is entered, under `vmap`, layers take the forms of this module where there is one."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Send a call to the stacked form."""
        kwargs = kwargs or {}
        if function is functional.linear:
            return self._linear(*args, **kwargs)
        if function is functional.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if function is torch.conv2d:
            return self._conv2d(*args, **kwargs)
        if function is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return function(*args, **kwargs)

    def _linear(self, input, weight, bias=None):
        return _linear(input, weight, bias)

    def _layer_norm(self, input, normalized_shape, weight=None, bias=None, eps=1e-5):
        if len(normalized_shape) != 1 or weight is None or bias is None:
            return functional.layer_norm(input, normalized_shape, weight, bias, eps)
        return _layer_norm(input, weight, bias, eps)

    def _conv2d(self, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        kernel = weight.shape[-1]
        same = tuple(weight.shape[-2:]) == (kernel, kernel) and kernel % 2 and bias is not None
        plain = (_pair(stride), _pair(dilation), groups) == ((1, 1), (1, 1), 1)
        if not (same and plain and _pair(padding) == (kernel // 2, kernel // 2)):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        return _convolution(input, weight, bias)

    def _attention(
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **more
    ):
        if attn_mask is not None or dropout_p or is_causal or any(more.values()):
            more |= {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
            return functional.scaled_dot_product_attention(query, key, value, **more)
        # Written out: vmap would run the fused forms fold by fold.
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return torch.softmax(query @ key.transpose(-1, -2) * scale, dim=-1) @ value


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
