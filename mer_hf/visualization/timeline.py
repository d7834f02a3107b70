"""The picture of minutes of video: motion, what was found, where nothing could be seen, and blinks.

Arrays in, a picture out, as in `draw.py`. No colour is the only carrier of what it says: every class has a
height of its own, named at the left, and gaps are hatched.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .figures import BLUE, GREEN, ORANGE, PURPLE, VERMILION, _canvas, _render

OTHER = "other"
"""Name of the row of intervals without a class: motion that is taken for no micro-expression."""

CLASS_COLORS = (VERMILION, GREEN, BLUE, PURPLE, ORANGE, "#56B4E9", "#8A7A00")
"""Of the classes, in the order of `labels`."""

DARK_COLORS = ("#F0803C", "#2FBF92", "#56B4E9", "#E59CC4", ORANGE, "#9DB8FF", "#F0E442")
"""As `CLASS_COLORS`, lighter."""

LIGHT = {"paper": "#FFFFFF", "ink": "#111827", "muted": "#4B5563", "line": "#D1D5DB", "other": "#9CA3AF"}
DARK = {"paper": "#111827", "ink": "#F3F4F6", "muted": "#D1D5DB", "line": "#4B5563", "other": "#9CA3AF"}


def timeline_picture(
    curve_s: np.ndarray,
    curve: np.ndarray,
    intervals: Sequence[tuple[float, float, str | None]],
    labels: Sequence[str],
    duration_s: float,
    gaps: Sequence[tuple[float, float]] = (),
    blinks: Sequence[tuple[float, float]] = (),
    unit: str = "motion (px)",
    dark: bool = False,
    size_wh: tuple[int, int] = (1100, 300),
    scale: float = 2.0,
) -> np.ndarray:
    """Minutes of video on one line of time.

    Args:
        curve_s (`np.ndarray` of shape `(N,)`): Seconds of the curve's points.
        curve (`np.ndarray` of shape `(N,)`): Motion; NaN leaves a gap.
        intervals (`Sequence[tuple[float, float, str or None]]`): Start, end and class of each; the class is
            None where there is none. Each is drawn at least two pixels wide.
        labels (`Sequence[str]`): The classes that get a row, seven at most, from the top.
        duration_s (`float`): Length of the line.
        gaps (`Sequence[tuple[float, float]]`, *optional*): Start and end of what could not be looked at.
        blinks (`Sequence[tuple[float, float]]`, *optional*): Start and end of each.
        unit (`str`, *optional*, defaults to `"motion (px)"`): What the vertical axis says.
        dark (`bool`, *optional*, defaults to `False`): Whether light on dark.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(1100, 300)`): Width and height of the layout.
        scale (`float`, *optional*, defaults to 2.0): Pixels per unit of `size_wh`.

    Returns:
        `np.ndarray` of shape `(scale * height, scale * width, 3)`: uint8, RGB.

    Raises:
        ValueError: If an interval has a class that is not in `labels`, there are more than seven, or the
            curve's arrays differ in length.
    """
    _check(curve_s, curve, intervals, labels)
    tones = DARK if dark else LIGHT
    figure, axes, rows = _stacked(size_wh, len(labels), tones)
    _draw_curve(axes, np.asarray(curve_s, float), np.asarray(curve, float), unit, tones)
    _draw_rows(rows, intervals, labels, blinks, max(duration_s, 1e-3), size_wh[0], tones)
    for start_s, end_s in gaps:
        for part in (axes, rows):
            part.axvspan(
                start_s,
                end_s,
                facecolor=tones["line"],
                edgecolor=tones["muted"],
                alpha=0.55,
                hatch="////",
                lw=0,
            )
    if len(gaps):
        axes.set_title("hatched: no face to look at", loc="right", fontsize=9, color=tones["muted"])
    rows.set_xlim(0.0, max(duration_s, 1e-3))
    rows.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 6, 10]))
    rows.xaxis.set_major_formatter(FuncFormatter(lambda at_s, _: clock(at_s, duration_s)))
    return _render(figure, scale)


def clock(at_s: float, duration_s: float = 0.0) -> str:
    """A time as `m:ss`, or with tenths where the whole is short: `0:02.5`.

    Args:
        at_s (`float`): Seconds.
        duration_s (`float`, *optional*, defaults to 0.0): Of the whole; below 20 s tenths are written.

    Returns:
        `str`
    """
    tenths = round(10 * at_s)
    minutes, rest = divmod(tenths, 600)
    if duration_s < 20:
        return f"{minutes}:{rest // 10:02d}.{rest % 10}"
    return f"{minutes}:{rest // 10:02d}"


def _check(curve_s, curve, intervals, labels) -> None:
    """Refuse what cannot be drawn."""
    if len(curve_s) != len(curve):
        raise ValueError(f"curve_s has {len(curve_s)} entries, the curve {len(curve)}.")
    if len(labels) > len(CLASS_COLORS):
        raise ValueError(f"expected at most {len(CLASS_COLORS)} classes, got {len(labels)}.")
    unknown = sorted({label for *_, label in intervals if label is not None} - set(labels))
    if unknown:
        raise ValueError(f"intervals have the classes {', '.join(unknown)}, which are not in labels.")


def _stacked(size_wh: tuple[int, int], classes: int, tones: dict[str, str]) -> tuple[Figure, Axes, Axes]:
    """The curve's axes over those of the rows, which share the time."""
    figure, unused = _canvas(size_wh)
    unused.remove()
    grid = figure.add_gridspec(2, 1, height_ratios=(5, 1.1 * (classes + 2)), hspace=0.02)
    axes = figure.add_subplot(grid[0])
    rows = figure.add_subplot(grid[1], sharex=axes)
    figure.set_facecolor(tones["paper"])
    for part in (axes, rows):
        part.set_facecolor(tones["paper"])
        part.spines[["top", "right", "left"]].set_visible(False)
        part.spines["bottom"].set_color(tones["line"])
        part.tick_params(colors=tones["muted"], labelsize=10, length=3)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.grid(axis="y", color=tones["line"], linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes, rows


def _draw_curve(axes: Axes, curve_s: np.ndarray, curve: np.ndarray, unit: str, tones: dict[str, str]) -> None:
    axes.plot(curve_s, curve, color=tones["ink"], linewidth=1.0, solid_joinstyle="round")
    top = float(np.nanmax(curve)) if np.isfinite(curve).any() else 0.0
    axes.set_ylim(0.0, 1.08 * top or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel(unit, color=tones["muted"], fontsize=10)


def _draw_rows(
    rows: Axes,
    intervals: Sequence[tuple[float, float, str | None]],
    labels: Sequence[str],
    blinks: Sequence[tuple[float, float]],
    duration_s: float,
    width_px: int,
    tones: dict[str, str],
) -> None:
    """A row of bars per class, one for what has none, and one of ticks for the blinks."""
    names = [*labels, OTHER, "blinks"]
    palette = DARK_COLORS if tones is DARK else CLASS_COLORS
    colors = dict(zip(labels, palette, strict=False)) | {OTHER: tones["other"]}
    least_s = 3 * duration_s / width_px
    for start_s, end_s, label in intervals:
        name = OTHER if label is None else label
        middle_s, lasts_s = (start_s + end_s) / 2, max(end_s - start_s, least_s)
        rows.barh(names.index(name), lasts_s, left=middle_s - lasts_s / 2, height=0.78, color=colors[name])
    middles_s = [(start_s + end_s) / 2 for start_s, end_s in blinks]
    rows.vlines(middles_s, len(names) - 1.32, len(names) - 0.68, color=tones["muted"], linewidth=1.2)
    rows.set_ylim(len(names) - 0.4, -0.6)
    rows.set_yticks(range(len(names)), names)
    rows.tick_params(axis="y", length=0, labelcolor=tones["ink"])
    for row in range(1, len(names)):
        rows.axhline(row - 0.5, color=tones["line"], linewidth=0.5, zorder=0)
