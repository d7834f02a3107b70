"""Pictures of a result: the motion curve with its phases, flow, relevance on the face, and scores.

Arrays in, pictures out: nothing here knows a model or a clip. Every picture is a uint8 RGB array. The
colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers, and no colour is the
only carrier of what it says: phases have their names beside them, flow has arrows, bars have numbers.
"""

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mer_hf.labels import ACTION_UNITS

BLUE, ORANGE, GREEN, VERMILION, PURPLE, GRAY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#6B7280",
)

PHASE_STYLES = {"onset": (BLUE, "^"), "apex": (VERMILION, "o"), "offset": (GREEN, "s")}
"""Phase -> colour and marker."""

DIRECTION_COLORS = (ORANGE, GREEN, BLUE, PURPLE)
"""Colours of motion to the right, down, to the left and up; the directions between are mixed."""

_DPI = 100


def curve_picture(
    curve: np.ndarray,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    times_s: np.ndarray | None = None,
    masked: np.ndarray | None = None,
    threshold: float | None = None,
    unit: str = "motion",
    size_wh: tuple[int, int] = (900, 260),
    scale: float = 2.0,
) -> np.ndarray:
    """The motion curve of a clip, with the phases marked and the stretch from onset to offset shaded.

    Args:
        curve (`np.ndarray` of shape `(T,)`): Motion per frame; NaN leaves a gap.
        onset (`int`, *optional*): Frame index, drawn where given.
        apex (`int`, *optional*): As `onset`.
        offset (`int`, *optional*): As `onset`.
        times_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds of the frames. Without it, or where it
            holds NaN, the horizontal axis counts frames.
        masked (`np.ndarray` of shape `(T,)`, *optional*): True on frames that were left out, e.g. in a blink.
        threshold (`float`, *optional*): What the curve has to pass to count as motion; a dotted line.
        unit (`str`, *optional*, defaults to `"motion"`): What the vertical axis says.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(900, 260)`): Width and height of the layout.
        scale (`float`, *optional*, defaults to 2.0): Pixels per unit of `size_wh`.

    Returns:
        `np.ndarray` of shape `(scale * height, scale * width, 3)`: uint8, RGB.

    Raises:
        ValueError: If a phase lies outside the curve, or the lengths differ.
    """
    curve = np.asarray(curve, dtype=np.float64)
    phases = {
        name: at for name, at in zip(PHASE_STYLES, (onset, apex, offset), strict=True) if at is not None
    }
    _check_curve(curve, phases, times_s, masked)
    timed = times_s is not None and np.isfinite(times_s).all()
    x = np.asarray(times_s, dtype=np.float64) if timed else np.arange(len(curve), dtype=np.float64)
    figure, axes = _canvas(size_wh)
    if masked is not None:
        _shade_runs(axes, x, np.asarray(masked, dtype=bool))
    if onset is not None and offset is not None:
        axes.axvspan(x[onset], x[offset], color=BLUE, alpha=0.10, linewidth=0)
    axes.plot(x, curve, color="#111827", linewidth=1.8, solid_joinstyle="round")
    top = float(np.nanmax(curve)) if np.isfinite(curve).any() else 0.0
    if threshold is not None:
        top = max(top, 1.1 * threshold)  # so that a still clip shows how far below it stays
        axes.axhline(threshold, color=GRAY, linewidth=1.1, linestyle=(0, (1, 2)))
    axes.set_ylim(0.0, 1.38 * top if top > 0 else 1.0)
    margin = 0.01 * (x[-1] - x[0]) or 0.5
    axes.set_xlim(x[0] - margin, x[-1] + margin)
    _mark_phases(axes, x, curve, phases)
    axes.set_xlabel("seconds" if timed else "frame")
    axes.set_ylabel(unit)
    return _render(figure, scale)


def flow_colors(flow_xy: np.ndarray, max_px: float | None = None) -> np.ndarray:
    """Motion as colour: the direction chooses the hue, the length how far it is from white.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Displacement in pixels, positive right and down.
        max_px (`float`, *optional*): The length in full colour, by default the 99th percentile.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8, RGB.

    Raises:
        ValueError: If the last axis does not hold the two components.
    """
    flow_xy = np.asarray(flow_xy, dtype=np.float64)
    if flow_xy.ndim != 3 or flow_xy.shape[2] != 2:
        raise ValueError(f"expected flow of shape (H, W, 2), got {flow_xy.shape}.")
    length = np.hypot(flow_xy[..., 0], flow_xy[..., 1])
    strength = np.clip(length / (max_px or full_color_px(flow_xy)), 0.0, 1.0)[..., None]
    quarter = np.arctan2(flow_xy[..., 1], flow_xy[..., 0]) / (np.pi / 2) % 4.0
    low = quarter.astype(int) % 4
    share = (quarter - np.floor(quarter))[..., None]
    anchors = (
        _rgb(DIRECTION_COLORS) ** 2.2
    )  # mixed in linear light: half way between two colours is no darker
    hue = ((1.0 - share) * anchors[low] + share * anchors[(low + 1) % 4]) ** (1.0 / 2.2)
    return np.round(255.0 * (1.0 - strength * (1.0 - hue))).astype(np.uint8)


def full_color_px(flow_xy: np.ndarray) -> float:
    """The length of motion that `flow_colors` shows in full colour: its 99th percentile, and never 0."""
    return max(float(np.percentile(np.hypot(flow_xy[..., 0], flow_xy[..., 1]), 99)), 1e-6)


def flow_picture(flow_xy: np.ndarray, max_px: float | None = None, size: int = 448) -> np.ndarray:
    """Motion in colour with arrows over it, and a key: the directions' colours and the length of full colour.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Displacement in pixels, positive right and down.
        max_px (`float`, *optional*): The length in full colour, by default the 99th percentile.
        size (`int`, *optional*, defaults to 448): Height of the picture; the width keeps the proportions.

    Returns:
        `np.ndarray` of shape `(size, size * W / H, 3)`: uint8, RGB.
    """
    colors = flow_colors(flow_xy, max_px)
    height, width = colors.shape[:2]
    max_px = max_px or full_color_px(flow_xy)
    figure, axes = _picture_axes(size, size * width // height)
    axes.imshow(colors, extent=(0, width, height, 0), interpolation="bilinear")
    step = max(height // 16, 1)
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    u, v = np.moveaxis(np.asarray(flow_xy, dtype=np.float64)[rows, columns], -1, 0)
    seen = np.hypot(u, v) > 0.15 * max_px
    reach = 1.6 * step / max_px  # full colour: a little longer than one cell of the grid
    axes.quiver(
        columns[seen],
        rows[seen],
        reach * u[seen],
        reach * v[seen],
        angles="xy",
        scale_units="xy",
        scale=1,
        color="#1F2937",
        width=0.0055,
        headwidth=3.6,
    )
    axes.set(xlim=(0, width), ylim=(height, 0))
    _flow_key(figure, max_px)
    return _render(figure)


def overlay_picture(
    face: np.ndarray, relevance: np.ndarray, opacity: float = 0.75, smoothing: float = 0.03
) -> np.ndarray:
    """A heat map over a face: the brighter and yellower, the more it mattered; the rest stays as it is.

    Args:
        face (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        relevance (`np.ndarray` of shape `(H, W)`): In [0, 1].
        opacity (`float`, *optional*, defaults to 0.75): How much of the face the strongest relevance hides.
        smoothing (`float`, *optional*, defaults to 0.03): Width of a blur over the map, as a fraction of the
            face: a map of coarse patches has hard edges, which look like a finding and are none.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8, RGB.

    Raises:
        ValueError: If the sizes differ or the map leaves [0, 1].
    """
    face, relevance = np.asarray(face), np.asarray(relevance, dtype=np.float64)
    if face.shape[:2] != relevance.shape:
        raise ValueError(
            f"face and relevance map must have the same size, got {face.shape[:2]} and {relevance.shape}."
        )
    if not (np.isfinite(relevance).all() and relevance.min() >= 0.0 and relevance.max() <= 1.0):
        raise ValueError(f"relevance must lie in [0, 1], got {relevance.min():.3g} to {relevance.max():.3g}.")
    if smoothing:
        blurred = cv2.GaussianBlur(relevance, (0, 0), smoothing * len(face))
        relevance = np.clip(blurred * relevance.max() / (blurred.max() or 1.0), 0.0, 1.0)
    gray = face.astype(np.float64).mean(axis=2, keepdims=True)
    share = np.minimum(relevance * 1.5, 1.0)[..., None]
    muted = (1.0 - 0.6 * share) * face + 0.6 * share * gray  # skin tones would tint the colours of the map
    heat = 255.0 * colormaps["inferno"](0.25 + 0.70 * relevance)[..., :3]
    return np.round(muted + opacity * share * (heat - muted)).astype(np.uint8)


def bars_picture(
    scores: dict[str, float],
    chosen: str | None = None,
    size_wh: tuple[int, int] = (420, 150),
    scale: float = 2.0,
) -> np.ndarray:
    """Horizontal bars, one per class, each with its number; the chosen class stands out.

    Args:
        scores (`dict[str, float]`): Class -> probability in [0, 1], drawn in this order from the top.
        chosen (`str`, *optional*): The class to bring out; none where no answer was given.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(420, 150)`): Width and height of the layout.
        scale (`float`, *optional*, defaults to 2.0): Pixels per unit of `size_wh`.

    Returns:
        `np.ndarray` of shape `(scale * height, scale * width, 3)`: uint8, RGB.

    Raises:
        ValueError: If there is no class, or `chosen` is not one of them.
    """
    if not scores or (chosen is not None and chosen not in scores):
        raise ValueError(f"expected scores with the chosen class among them, got {scores} and {chosen!r}.")
    figure, axes = _canvas(size_wh)
    names, values = list(scores), [float(value) for value in scores.values()]
    colors = [BLUE if name == chosen else "#9CA3AF" for name in names]
    axes.barh(names, values, color=colors, height=0.66)
    for row, value in enumerate(values):
        axes.text(value + 0.015, row, f"{100.0 * value:.0f} %", va="center", fontsize=10, color="#111827")
    axes.set(xlim=(0.0, 1.14), xticks=[])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=10.5)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    return _render(figure, scale)


def action_unit_bars(
    values: dict[str, tuple[float, float, float] | None],
    size_wh: tuple[int, int] = (560, 480),
    scale: float = 2.0,
) -> np.ndarray:
    """Action units as bars to both sides, as one looks at the face: the person's right side on the left.

    Args:
        values (`dict[str, tuple[float, float, float] | None]`): AU -> (left, right, intensity) in [0, 1],
            drawn in this order from the top; from 0.5 on a side stands out. None where motion in a picture
            does not show the AU: the row says so.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(560, 480)`): Width and height of the layout.
        scale (`float`, *optional*, defaults to 2.0): Pixels per unit of `size_wh`.

    Returns:
        `np.ndarray` of shape `(scale * height, scale * width, 3)`: uint8, RGB.

    Raises:
        ValueError: If there is no action unit, or a value leaves [0, 1].
    """
    numbers = [number for value in values.values() if value is not None for number in value]
    if not values or not all(0.0 <= number <= 1.0 for number in numbers):
        raise ValueError(f"expected action units with intensities in [0, 1], got {values}.")
    figure, axes = _canvas(size_wh)
    for row, value in enumerate(values.values()):
        if value is None:
            axes.text(
                0,
                row,
                "not visible in 2-D motion",
                ha="center",
                va="center",
                fontsize=8,
                color=GRAY,
                style="italic",
                bbox={"facecolor": "white", "linewidth": 0, "pad": 1},
            )
            continue
        for number, sign, color in zip(value, (1, -1), (BLUE, VERMILION), strict=False):
            axes.barh(row, sign * number, color=color, alpha=1.0 if number >= 0.5 else 0.3, height=0.66)
            if number >= 0.5:
                axes.text(
                    sign * (number + 0.02),
                    row,
                    f"{number:.2f}",
                    ha="left" if sign > 0 else "right",
                    va="center",
                    fontsize=8,
                )
    axes.axvline(0.0, color="#374151", linewidth=0.8)
    for at in (-0.5, 0.5):
        axes.axvline(at, color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)), zorder=0)
    axes.set(xlim=(-1.16, 1.16), ylim=(len(values) - 0.4, -0.6), xticks=(-0.5, 0.5))
    axes.set_xticklabels(("present", "present"))
    names = [f"{ACTION_UNITS.get(name, '')}  {name}".strip() for name in values]
    axes.set_yticks(range(len(values)), names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.set_title("person's right", loc="left", fontsize=9, color=VERMILION)
    axes.set_title("person's left", loc="right", fontsize=9, color=BLUE)
    return _render(figure, scale)


def confusion_picture(counts: np.ndarray, names: tuple[str, ...], mark: str = "") -> np.ndarray:
    """A confusion matrix: rows true, columns predicted, shaded by the share of the row.

    Args:
        counts (`np.ndarray` of shape `(C, C)`): Clips, or their mean over seeds.
        names (`tuple[str, ...]`): Of the classes.
        mark (`str`, *optional*): Written across the picture; what everybody who copies it must see.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`: uint8, RGB.
    """
    counts = np.asarray(counts, dtype=np.float64)
    side = 160 + 90 * len(names)
    figure, axes = _canvas((side + 60, side))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:.0f}" if count == round(count) else f"{count:.1f}"
        color = "white" if shares[row, column] > 0.55 else "#111827"
        axes.text(column, row, f"{text}\n{shares[row, column]:.0%}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if mark:
        figure.text(
            0.5, 0.5, mark, rotation=30, ha="center", va="center", fontsize=26, color=VERMILION, alpha=0.55
        )
    return _render(figure, 1.5)


def enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture scaled to a height, with its proportions.

    Args:
        picture (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        height (`int`): Rows of the result.

    Returns:
        `np.ndarray` of shape `(height, W * height / H, 3)`: uint8, RGB.
    """
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _check_curve(
    curve: np.ndarray, phases: dict[str, int], times_s: np.ndarray | None, masked: np.ndarray | None
) -> None:
    """Refuse what cannot be drawn."""
    if curve.ndim != 1 or len(curve) == 0:
        raise ValueError(f"expected a curve of shape (T,) with at least one frame, got {curve.shape}.")
    for name, values in (("times_s", times_s), ("masked", masked)):
        if values is not None and len(values) != len(curve):
            raise ValueError(f"{name} has {len(values)} entries, the curve {len(curve)}.")
    for name, at in phases.items():
        if not 0 <= at < len(curve):
            raise ValueError(f"{name} is frame {at}, the curve has frames 0 to {len(curve) - 1}.")


def _mark_phases(axes: Axes, x: np.ndarray, curve: np.ndarray, phases: dict[str, int]) -> None:
    """A line, a marker and a name per phase, the names kept apart from each other and inside the picture."""
    top = axes.get_ylim()[1]
    share = {name: (x[at] - x[0]) / (x[-1] - x[0] or 1.0) for name, at in phases.items()}
    # The onset's name ends at its line, the offset's begins at its own, the apex's stands above both.
    sides = {"onset": "right", "apex": "center", "offset": "left"}
    sides |= {name: "left" for name in share if share[name] < 0.1}
    sides |= {name: "right" for name in share if share[name] > 0.9}
    crowded = sides.get("onset") == "left" or sides.get("offset") == "right"
    levels = {"onset": 0.85, "apex": 0.99, "offset": 0.71 if crowded else 0.85}
    for name, at in phases.items():
        color, marker = PHASE_STYLES[name]
        height = 0.0 if np.isnan(curve[at]) else curve[at]
        axes.vlines(x[at], 0.0, levels[name] * top, color=color, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(
            [x[at]], [height], marker, color=color, markersize=7, markeredgecolor="white", clip_on=False
        )
        axes.annotate(
            f"{name} {at}",
            (x[at], levels[name] * top),
            ({"right": -4, "left": 4, "center": 0}[sides[name]], 0),
            textcoords="offset points",
            ha=sides[name],
            va="top" if name != "apex" or sides[name] != "center" else "bottom",
            color=color,
            weight="bold",
        )


def _shade_runs(axes: Axes, x: np.ndarray, masked: np.ndarray) -> None:
    """Gray bands, hatched, over the runs of masked frames; the first is named."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], masked.astype(np.int8), [0]))))
    for number, (first, end) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        band = axes.axvspan(x[first], x[end - 1], facecolor="#E5E7EB", edgecolor="#C4C8CF", linewidth=0)
        band.set_hatch("////")
        if number == 0:
            axes.annotate(
                "blink",
                ((x[first] + x[end - 1]) / 2.0, 0.02),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                color=GRAY,
                fontsize=9,
            )


def _flow_key(figure: Figure, max_px: float) -> None:
    """The wheel of directions in the lower right corner, and the length of its rim."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = np.dstack([flow_colors(np.dstack([x, y]), 1.0), 255 * (np.hypot(x, y) <= 1.0)]).astype(np.uint8)
    key = figure.add_axes((0.84, 0.02, 0.14, 0.14))
    key.imshow(disc)
    key.set_axis_off()
    figure.text(
        0.825,
        0.025,
        f"rim: {max_px:.2f} px",
        ha="right",
        va="bottom",
        fontsize=11,
        color="#111827",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2},
    )


def _canvas(size_wh: tuple[int, int]) -> tuple[Figure, Axes]:
    """An empty figure with one plain axes, laid out for `size_wh` pixels."""
    figure = Figure(figsize=(size_wh[0] / _DPI, size_wh[1] / _DPI), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#9CA3AF")
    axes.grid(axis="y", color="#E5E7EB", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#374151", labelsize=9.5, length=3)
    axes.xaxis.label.set(color="#374151", fontsize=9.5)
    axes.yaxis.label.set(color="#374151", fontsize=9.5)
    return figure, axes


def _picture_axes(height: int, width: int) -> tuple[Figure, Axes]:
    """A figure that is one picture from edge to edge."""
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _render(figure: Figure, scale: float = 1.0) -> np.ndarray:
    """The figure's pixels, without pyplot: it keeps nothing, so a server can draw for days and in threads."""
    figure.set_dpi(_DPI * scale)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _rgb(colors: tuple[str, ...]) -> np.ndarray:
    """Hexadecimal colours as rows of float64 in [0, 1]."""
    return np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors]) / 255.0
