"""Optical flow, strain and flow maps, on motion that is known."""

import numpy as np
import pytest

from mer_hf.face.flow import flow_map, optical_flow, optical_strain, span_to_uint8
from tests.models.tiny import tiny_clip


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_flow_of_a_shifted_picture_is_the_shift(method):
    picture = tiny_clip(size=96)[0]
    flow_xy = optical_flow(picture, np.roll(picture, (1, 2), axis=(0, 1)), method)
    assert flow_xy.shape == (96, 96, 2) and flow_xy.dtype == np.float32
    np.testing.assert_allclose(np.median(flow_xy[20:-20, 20:-20], axis=(0, 1)), [2, 1], atol=0.1)


def test_strain_of_a_linear_field_is_that_of_its_derivatives():
    row, column = np.mgrid[:9, :9].astype(np.float32)
    field = np.dstack([0.1 * column + 0.2 * row, 0.4 * column + 0.3 * row])
    expected = np.sqrt(0.1**2 + 0.3**2 + 2 * ((0.2 + 0.4) / 2) ** 2)
    np.testing.assert_allclose(optical_strain(field), expected, rtol=1e-5)
    planes = flow_map(np.repeat(np.repeat(field[:8, :8], 7, axis=0), 7, axis=1), size=8)
    np.testing.assert_allclose(planes[..., :2], field[:8, :8], rtol=1e-5, atol=1e-6)


def test_channels_are_stretched_to_span_0_to_255():
    motion = np.dstack([np.linspace(-1, 3, 9).reshape(3, 3), np.full((3, 3), 7.0)])
    stretched = span_to_uint8(motion)
    assert stretched[..., 0].tolist() == [[0, 32, 64], [96, 128, 159], [191, 223, 255]]
    assert not stretched[..., 1].any()
