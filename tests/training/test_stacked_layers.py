"""Stacked layers compute what vmap makes of the ordinary ones, forwards and backwards."""

import pytest
import torch
from torch.func import vmap
from torch.nn import functional

from mer_hf.training.stacked_layers import StackedLayers


def tensors(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, *shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]


def assert_same(layer, *arguments):
    outputs, gradients = [], []
    for stacked in (False, True):
        if stacked:
            with StackedLayers():
                outputs.append(vmap(layer)(*arguments))
        else:
            outputs.append(vmap(layer)(*arguments))
        weights = torch.linspace(-1, 1, outputs[-1].numel(), dtype=torch.float64).view(outputs[-1].shape)
        gradients.append(torch.autograd.grad((outputs[-1] * weights).sum(), arguments))
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
    return outputs[1].grad_fn, gradients[1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution(size, kernel):
    def layer(maps, weight, bias):
        return functional.conv2d(maps, weight, bias, padding=kernel // 2)

    arguments = tensors((2, 5, size, size), (6, 5, kernel, kernel), (6,))
    assert_same(layer, *arguments)


@pytest.mark.parametrize(
    "options", [{"stride": 2, "padding": 1}, {"padding": 0}, {"padding": 2, "dilation": 2}]
)
def test_other_convolutions_are_left_to_vmap(options):
    assert_same(
        lambda m, w, b: functional.conv2d(m, w, b, **options), *tensors((2, 5, 4, 4), (6, 5, 3, 3), (6,))
    )
    assert_same(lambda m, w: functional.conv2d(m, w, **options), *tensors((2, 5, 4, 4), (6, 5, 3, 3)))


def test_maps_need_not_be_square():
    arguments = tensors((2, 5, 2, 7), (6, 5, 3, 3), (6,))
    assert_same(lambda m, w, b: functional.conv2d(m, w, b, padding=1), *arguments)


@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 4), (4,)])
def test_linear(shape):
    _, (_, of_weight, _) = assert_same(functional.linear, *tensors(shape, (5, 4), (5,)))
    assert of_weight.is_contiguous()
    assert_same(functional.linear, *tensors(shape, (5, 4)))


@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 4)])
def test_layer_norm(shape):
    assert_same(lambda x, w, b: functional.layer_norm(x, (4,), w, b, 1e-3), *tensors(shape, (4,), (4,)))
    assert_same(lambda x: functional.layer_norm(x, (4,)), *tensors(shape))


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"is_causal": True}])
def test_attention(options):
    def layer(query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, **options)

    assert_same(layer, *tensors(*[(2, 4, 6, 5)] * 3))


def test_what_all_folds_share_is_served():
    weight = torch.randn(5, 4, dtype=torch.float64)
    (maps,) = tensors((7, 4))
    with StackedLayers():
        found = vmap(lambda x: functional.linear(x, weight))(maps)
    torch.testing.assert_close(found, maps @ weight.T)
