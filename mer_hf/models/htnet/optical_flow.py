"""Optical flow between two aligned faces, optical strain, and the 28 x 28 flow map made of both.

The file lies here so that a model folder on the Hub computes its own input; `mer_hf/face/flow.py` has its
functions for the rest of the package.
"""

import numpy as np

try:
    import cv2
except ImportError:
    cv2 = None

FLOW_METHODS = ("dis", "tvl1")


def _require_cv2() -> None:
    if cv2 is None:
        raise ImportError(
            "optical flow needs OpenCV. Run pip install opencv-contrib-python, or pass ready-made flow maps."
        )


def to_gray(image: np.ndarray) -> np.ndarray:
    """Luma of an RGB picture; a picture that is already gray is returned as it is.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)` or `(H, W)`): uint8, RGB.

    Returns:
        `np.ndarray` of shape `(H, W)`: uint8.

    Raises:
        ValueError: If the array has another type or shape.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(
            f"expected a uint8 picture of shape (H, W, 3) or (H, W), got {image.dtype} {image.shape}. "
            "Convert it to 8-bit RGB first."
        )
    if image.ndim == 2:
        return np.ascontiguousarray(image)
    _require_cv2()
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def optical_flow(onset: np.ndarray, apex: np.ndarray, method: str = "dis") -> np.ndarray:
    """Dense motion from `onset` to `apex`.

    Args:
        onset (`np.ndarray` of shape `(H, W, 3)` or `(H, W)`): uint8, RGB or gray.
        apex (`np.ndarray`): The same shape as `onset`.
        method (`str`, *optional*, defaults to `"dis"`): `"dis"` (dense inverse search on the finest scale
            with ten refinements: quick, and nearest to the truth on motion of 0.3 to 1.5 px) or `"tvl1"` (the
            literature's choice: about thirty times slower, steadier below 0.2 px in noise).

    Returns:
        `np.ndarray` of shape `(H, W, 2)`: float32 in pixels; channel 0 is positive to the right, channel 1
        downwards.

    Raises:
        ValueError: If the sizes differ or the method is unknown.
        ImportError: If OpenCV is missing, or lacks its contrib modules for `"tvl1"`.
    """
    if method not in FLOW_METHODS:
        raise ValueError(f"unknown flow method {method!r}. Choose one of {', '.join(FLOW_METHODS)}.")
    _require_cv2()
    onset, apex = to_gray(onset), to_gray(apex)
    if onset.shape != apex.shape:
        sizes = " and ".join("x".join(map(str, image.shape)) for image in (onset, apex))
        raise ValueError(
            f"onset and apex must have the same size, got {sizes}. Crop both with the same face box."
        )
    if method == "tvl1":
        # Beside opencv-python, contrib's cv2.optflow is left as an empty module: ask for the function, not
        # the module.
        if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
            raise ImportError(
                "TV-L1 flow needs OpenCV's contrib modules. Run pip uninstall opencv-python, then "
                "pip install --force-reinstall opencv-contrib-python."
            )
        return cv2.optflow.DualTVL1OpticalFlow_create().calc(onset, apex, None)
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver.setFinestScale(0)
    solver.setVariationalRefinementAlpha(40.0)
    solver.setVariationalRefinementIterations(10)
    return solver.calc(onset, apex, None)


def optical_strain(flow_xy: np.ndarray) -> np.ndarray:
    """Magnitude of the infinitesimal strain tensor: how strongly the skin is stretched.

    Args:
        flow_xy (`np.ndarray` of shape `(..., H, W, 2)`): Displacement in pixels.

    Returns:
        `np.ndarray` of shape `(..., H, W)`: sqrt(exx^2 + eyy^2 + 2 exy^2), float32, never negative
        (Shreve et al. 2009; exy = (du/dy + dv/dx) / 2).

    Raises:
        ValueError: If the last axis does not hold the two components.
    """
    flow_xy = np.asarray(flow_xy, dtype=np.float32)
    if flow_xy.ndim < 3 or flow_xy.shape[-1] != 2:
        raise ValueError(f"expected flow of shape (..., H, W, 2), got {flow_xy.shape}.")
    u_y, u_x = np.gradient(flow_xy[..., 0], axis=(-2, -1))
    v_y, v_x = np.gradient(flow_xy[..., 1], axis=(-2, -1))
    return np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)


def flow_map(flow_xy: np.ndarray, size: int = 28) -> np.ndarray:
    """Horizontal flow, vertical flow and strain, averaged down to a small square map.

    The flow is measured on the large picture: measured on 28 x 28 pixels it is wrong by more than half with
    every method. Its values stay in pixels of the large picture.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Displacement in pixels.
        size (`int`, *optional*, defaults to 28): Height and width of the map.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`: float32, channels (u, v, strain).
    """
    _require_cv2()
    planes = np.dstack([flow_xy, optical_strain(flow_xy)]).astype(np.float32)
    return cv2.resize(planes, (size, size), interpolation=cv2.INTER_AREA)


def span_to_uint8(motion: np.ndarray) -> np.ndarray:
    """Stretch each channel to span 0 to 255, as the published maps of the composite set are stored.

    Args:
        motion (`np.ndarray` of shape `(H, W, C)`): Any real values; a constant channel becomes 0.

    Returns:
        `np.ndarray` of shape `(H, W, C)`: uint8.
    """
    low = motion.min(axis=(0, 1), keepdims=True)
    span = motion.max(axis=(0, 1), keepdims=True) - low
    return np.round(255.0 * (motion - low) / np.where(span > 0, span, 1.0)).astype(np.uint8)
