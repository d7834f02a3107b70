"""Pictures of a result: the motion curve with its phases, flow, relevance, scores, and a line of time.

Arrays in, pictures out: nothing here knows a model or a clip. Every picture is a uint8 RGB array. The
colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart, and colour never stands
alone: phases and classes have their names beside them, flow has arrows, bars have numbers, gaps are hatched.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from mer_hf.face.registration import runs
from mer_hf.labels import ACTION_UNITS

BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, GRAY, LINE = "#111827", "#4B5563", "#D1D5DB"

PHASE_STYLES = {"onset": (BLUE, "^"), "apex": (VERMILION, "o"), "offset": (GREEN, "s")}
"""Phase -> colour and marker."""

DIRECTION_COLORS = (ORANGE, GREEN, BLUE, PURPLE)
"""Colours of motion to the right, down, to the left and up; the directions between are mixed."""

CLASS_COLORS = (VERMILION, GREEN, BLUE, PURPLE, ORANGE, "#56B4E9", "#8A7A00")
"""Colours of the classes on a time line, in their order."""

UNCLASSIFIED, UNCLASSIFIED_COLOR = "other", "#9CA3AF"
"""Row of a time line for motion without a class."""

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
    averaged: Sequence[int] = (),
) -> np.ndarray:
    """Draw the motion curve of a clip, with the phases marked and the stretch from onset to offset shaded.

    Args:
        curve (`np.ndarray` of shape `(T,)`): Motion per frame; NaN leaves a gap.
        onset (`int`, *optional*): Frame index of the onset.
        apex (`int`, *optional*): Frame index of the apex.
        offset (`int`, *optional*): Frame index of the offset.
        times_s (`np.ndarray` of shape `(T,)`, *optional*): Seconds of the frames. Without it, or where it
            holds NaN, the horizontal axis counts frames.
        masked (`np.ndarray` of shape `(T,)`, *optional*): True on frames in a blink; they are hatched.
        threshold (`float`, *optional*): Motion above it counts; a dotted line.
        unit (`str`, *optional*, defaults to `"motion"`): Label of the vertical axis.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(900, 260)`): Width and height of the layout.
        scale (`float`, *optional*, defaults to 2.0): Pixels per unit of `size_wh`.
        averaged (`Sequence[int]`, *optional*): Frames that served as the apex; small dots on the curve.

    Returns:
        `np.ndarray` of shape `(scale * height, scale * width, 3)`: uint8, RGB.
    """
    curve = np.asarray(curve, dtype=np.float64)
    phases = zip(PHASE_STYLES, (onset, apex, offset), strict=True)
    phases = {name: frame for name, frame in phases if frame is not None}
    timed = times_s is not None and np.isfinite(times_s).all()
    x = np.asarray(times_s, dtype=np.float64) if timed else np.arange(len(curve), dtype=np.float64)
    figure, axes = _canvas(size_wh)
    if masked is not None and np.any(masked):
        _hatch_blinks(axes, x, np.asarray(masked, dtype=bool))
    if onset is not None and offset is not None:
        axes.axvspan(x[onset], x[offset], color=BLUE, alpha=0.10, linewidth=0)
    axes.plot(x, curve, color=INK, linewidth=1.8, solid_joinstyle="round")
    axes.plot(x[list(averaged)], curve[list(averaged)], "o", color=PHASE_STYLES["apex"][0], markersize=3.5)
    top = float(np.nanmax(curve)) if np.isfinite(curve).any() else 0.0
    if threshold is not None:
        top = max(top, 1.1 * threshold)  # so that a still clip shows how far below it stays
        axes.axhline(threshold, color=GRAY, linewidth=1.1, linestyle=(0, (1, 2)))
    margin = 0.01 * (x[-1] - x[0]) or 0.5
    axes.set(xlim=(x[0] - margin, x[-1] + margin), ylim=(0.0, 1.38 * top if top > 0 else 1.0))
    axes.set(xlabel="seconds" if timed else "frame", ylabel=unit)
    _mark_phases(axes, x, curve, phases)
    return _render(figure, scale)


def flow_colors(flow_xy: np.ndarray, max_px: float | None = None) -> np.ndarray:
    """Turn motion into colour: the direction chooses the hue, the length how far it is from white.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Displacement in pixels, positive right and down.
        max_px (`float`, *optional*): The length in full colour, by default the 99th percentile.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8, RGB.
    """
    flow_xy = np.asarray(flow_xy, dtype=np.float64)
    length = np.hypot(flow_xy[..., 0], flow_xy[..., 1])
    strength = np.clip(length / (max_px or full_color_px(flow_xy)), 0.0, 1.0)[..., None]
    quarter = np.arctan2(flow_xy[..., 1], flow_xy[..., 0]) / (np.pi / 2) % 4.0
    low = quarter.astype(int) % 4
    share = (quarter - np.floor(quarter))[..., None]
    # Mixed in linear light: half way between two colours is no darker.
    anchors = np.array([to_rgb(color) for color in DIRECTION_COLORS]) ** 2.2
    hue = ((1.0 - share) * anchors[low] + share * anchors[(low + 1) % 4]) ** (1.0 / 2.2)
    return np.round(255.0 * (1.0 - strength * (1.0 - hue))).astype(np.uint8)


def full_color_px(flow_xy: np.ndarray) -> float:
    """Return the length of motion that `flow_colors` shows in full colour: its 99th percentile, never 0."""
    return max(float(np.percentile(np.hypot(flow_xy[..., 0], flow_xy[..., 1]), 99)), 1e-6)


def flow_picture(flow_xy: np.ndarray, max_px: float | None = None, size: int = 448) -> np.ndarray:
    """Draw motion in colour with arrows over it, and a key: colours of directions, length of full colour.

    Args:
        flow_xy (`np.ndarray` of shape `(H, W, 2)`): Displacement in pixels, positive right and down.
        max_px (`float`, *optional*): The length in full colour, by default the 99th percentile.
        size (`int`, *optional*, defaults to 448): Height of the picture; the width keeps the proportions.

    Returns:
        `np.ndarray` of shape `(size, size * W / H, 3)`: uint8, RGB.
    """
    max_px = max_px or full_color_px(flow_xy)
    colors = flow_colors(flow_xy, max_px)
    height, width = colors.shape[:2]
    figure = Figure(figsize=(size * width // height / _DPI, size / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(colors, extent=(0, width, height, 0), interpolation="bilinear")
    step = max(height // 16, 1)
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    u, v = np.moveaxis(np.asarray(flow_xy, dtype=np.float64)[rows, columns], -1, 0)
    moving = np.hypot(u, v) > 0.15 * max_px
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.0055, "headwidth": 3.6}
    reach = 1.6 * step / max_px  # full colour: a little longer than one cell of the grid
    axes.quiver(columns[moving], rows[moving], reach * u[moving], reach * v[moving], color=INK, **arrows)
    axes.set(xlim=(0, width), ylim=(height, 0))
    _draw_flow_key(figure, max_px)
    return _render(figure)


def overlay_picture(face: np.ndarray, relevance: np.ndarray, smoothing: float = 0.03) -> np.ndarray:
    """Lay a heat map over a face: the brighter and yellower, the more it mattered; the rest stays as it is.

    Args:
        face (`np.ndarray` of shape `(H, W, 3)`): uint8, RGB.
        relevance (`np.ndarray` of shape `(H, W)`): In [0, 1].
        smoothing (`float`, *optional*, defaults to 0.03): Width of a blur over the map, as a fraction of the
            face: the hard edges of coarse patches would look like a finding.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8, RGB.
    """
    relevance = np.asarray(relevance, dtype=np.float64)
    if smoothing:
        relevance = smooth_relevance(relevance, smoothing * len(face))
    gray = face.astype(np.float64).mean(axis=2, keepdims=True)
    share = np.minimum(relevance * 1.5, 1.0)[..., None]
    muted = (1.0 - 0.6 * share) * face + 0.6 * share * gray  # skin tones would tint the colours of the map
    return np.round(muted + 0.75 * share * (heat_colors(relevance) - muted)).astype(np.uint8)


def smooth_relevance(relevance: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a relevance map and keep its maximum."""
    blurred = cv2.GaussianBlur(relevance, (0, 0), sigma)
    return np.clip(blurred * (relevance.max() / (blurred.max() or 1.0)), 0.0, 1.0)


def heat_colors(relevance: np.ndarray) -> np.ndarray:
    """Return the colours of relevance in [0, 1], from 0 to 255."""
    return 255.0 * colormaps["inferno"](0.25 + 0.70 * relevance)[..., :3]


def bars_picture(
    scores: dict[str, float],
    chosen: str | None = None,
    size_wh: tuple[int, int] = (420, 150),
) -> np.ndarray:
    """Draw a horizontal bar with its number for each class; the chosen class stands out.

    Args:
        scores (`dict[str, float]`): Class -> probability in [0, 1], drawn in this order from the top.
        chosen (`str`, *optional*): The class to emphasise; None where no answer was given.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(420, 150)`): Width and height of the layout.

    Returns:
        `np.ndarray` of shape `(2 * height, 2 * width, 3)`: uint8, RGB.
    """
    figure, axes = _canvas(size_wh)
    colors = [BLUE if name == chosen else "#9CA3AF" for name in scores]
    bars = axes.barh(list(scores), list(scores.values()), color=colors, height=0.66)
    axes.bar_label(bars, [f"{100.0 * value:.0f} %" for value in scores.values()], padding=4, color=INK)
    axes.set(xlim=(0.0, 1.14), xticks=[])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=10.5)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    return _render(figure, 2.0)


def action_unit_bars(
    values: dict[str, tuple[float, float, float] | None],
    size_wh: tuple[int, int] = (560, 480),
) -> np.ndarray:
    """Draw action units as bars to both sides, as one looks at the face: the person's right on the left.

    Args:
        values (`dict[str, tuple[float, float, float] | None]`): AU -> (left, right, intensity) in [0, 1],
            drawn in this order from the top; from 0.5 on a side stands out. None where motion in a picture
            does not show the AU: the row says so.
        size_wh (`tuple[int, int]`, *optional*, defaults to `(560, 480)`): Width and height of the layout.

    Returns:
        `np.ndarray` of shape `(2 * height, 2 * width, 3)`: uint8, RGB.
    """
    figure, axes = _canvas(size_wh)
    small = {"va": "center", "fontsize": 8}
    for row, value in enumerate(values.values()):
        if value is None:
            box = {"facecolor": "white", "linewidth": 0, "pad": 1}
            axes.text(0, row, "not visible in 2-D motion", ha="center", color=GRAY, bbox=box, **small)
            continue
        for number, sign, color, align in ((value[0], 1, BLUE, "left"), (value[1], -1, VERMILION, "right")):
            present = number >= 0.5
            axes.barh(row, sign * number, color=color, alpha=1.0 if present else 0.3, height=0.66)
            if present:
                axes.text(sign * (number + 0.02), row, f"{number:.2f}", ha=align, **small)
    axes.axvline(0.0, color=GRAY, linewidth=0.8)
    axes.grid(False)
    axes.grid(axis="x", color=GRAY, linewidth=1.0, linestyle=(0, (1, 2)))
    axes.set(xlim=(-1.16, 1.16), ylim=(len(values) - 0.4, -0.6))
    axes.set_xticks((-0.5, 0.5), ("present", "present"))
    names = [f"{ACTION_UNITS.get(name, '')}  {name}".strip() for name in values]
    axes.set_yticks(range(len(values)), names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title("person's right", loc="left", fontsize=9, color=VERMILION)
    axes.set_title("person's left", loc="right", fontsize=9, color=BLUE)
    return _render(figure, 2.0)


def confusion_picture(counts: np.ndarray, names: tuple[str, ...], mark: str = "") -> np.ndarray:
    """Draw a confusion matrix: rows true, columns predicted, shaded by the share of the row.

    Args:
        counts (`np.ndarray` of shape `(C, C)`): Clips, or their mean over seeds.
        names (`tuple[str, ...]`): Names of the classes.
        mark (`str`, *optional*): Words written across the picture, which every copy shows.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`: uint8, RGB.
    """
    counts = np.asarray(counts, dtype=np.float64)
    side = 160 + 90 * len(names)
    figure, axes = _canvas((side + 60, side))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    centered = {"ha": "center", "va": "center"}
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:.0f}" if count == round(count) else f"{count:.1f}"
        color = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, f"{text}\n{shares[row, column]:.0%}", color=color, **centered)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    if mark:
        figure.text(0.5, 0.5, mark, rotation=30, fontsize=26, color=VERMILION, alpha=0.55, **centered)
    return _render(figure, 1.5)


def timeline_picture(
    curve_s: np.ndarray,
    curve: np.ndarray,
    intervals: Sequence[tuple[float, float, str | None, int]],
    labels: Sequence[str],
    duration_s: float,
    gaps: Sequence[tuple[float, float]] = (),
    blinks: Sequence[tuple[float, float, int]] = (),
    people: Sequence[int] = (1,),
) -> np.ndarray:
    """Draw minutes of video on one line of time: motion, what was found, gaps and blinks.

    Colours stand for classes, or for people where there are several.

    Args:
        curve_s (`np.ndarray` of shape `(N,)`): Seconds of the curve's points.
        curve (`np.ndarray` of shape `(N,)` or `(P, N)`): Motion in pixels, of each person; NaN leaves a gap.
        intervals (`Sequence[tuple[float, float, str or None, int]]`): Start, end, class and person of each;
            None where it has no class. Each is drawn at least three units wide.
        labels (`Sequence[str]`): The classes, each of which gets a row, from the top.
        duration_s (`float`): Length of the line.
        gaps (`Sequence[tuple[float, float]]`, *optional*): Start and end of what could not be searched.
        blinks (`Sequence[tuple[float, float, int]]`, *optional*): Start, end and person of each.
        people (`Sequence[int]`, *optional*): Number of each person.

    Returns:
        `np.ndarray` of shape `(600, 2200, 3)`: uint8, RGB.
    """
    line_s = max(duration_s, 1e-3)
    names = [*labels, UNCLASSIFIED, "blinks"]
    figure, axes = _canvas((1100, 300))
    axes.remove()
    ratios = {"height_ratios": (5, 1.1 * len(names)), "hspace": 0.02}
    axes, rows = figure.subplots(2, 1, sharex=True, gridspec_kw=ratios)
    several = dict(zip(people, cycle(CLASS_COLORS))) if len(people) > 1 else {}
    for person, line in zip(people or (1,), np.atleast_2d(curve), strict=True):
        color, name = several.get(person, INK), f"person {person}"
        axes.plot(curve_s, line, color=color, label=name, linewidth=1.0, solid_joinstyle="round")
    if several:
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.98)}
        axes.legend(**place, fontsize=8, ncols=len(several), frameon=False)
    top = float(np.nanmax(curve)) if np.isfinite(curve).any() else 0.0
    axes.set_ylim(0.0, 1.08 * top or 1.0)
    axes.set_ylabel("motion (px)", color=GRAY)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    _draw_intervals(rows, intervals, blinks, names, 3 * line_s / 1100, several)
    for part in (axes, rows):
        part.spines[["top", "right", "left"]].set_visible(False)
        part.spines["bottom"].set_color(LINE)
        for start_s, end_s in gaps:
            part.axvspan(start_s, end_s, facecolor=LINE, edgecolor=GRAY, alpha=0.55, hatch="////", lw=0)
    if len(gaps):
        axes.set_title("hatched: no usable face", loc="right", fontsize=9, color=GRAY)
    axes.tick_params(axis="x", length=0)
    rows.set_xlim(0.0, line_s)
    rows.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 6, 10]))
    rows.xaxis.set_major_formatter(FuncFormatter(lambda at_s, _: clock(at_s, duration_s)))
    return _render(figure, 2.0)


def codings_picture(
    codings: Mapping[str, Sequence[tuple[float, float | None, float, str]]], duration_s: float
) -> np.ndarray:
    """Draw codings of one video below each other on one line of time.

    Args:
        codings (`Mapping[str, Sequence[tuple[float, float or None, float, str]]]`): Name -> onset, apex,
            offset and class of each event, in seconds.
        duration_s (`float`): Length of the line.

    Returns:
        `np.ndarray` of shape `(200 + 120 N, 2200, 3)`: uint8, RGB.
    """
    line_s = max(duration_s, 1e-3)
    classes = sorted({label for events in codings.values() for *_, label in events if label})
    colors = dict(zip(classes, cycle(CLASS_COLORS))) | {"": UNCLASSIFIED_COLOR}
    figure, axes = _canvas((1100, 100 + 60 * len(codings)))
    for row, events in enumerate(codings.values()):
        for onset_s, apex_s, offset_s, label in events:
            width_s = max(offset_s - onset_s, 3 * line_s / 1100)
            axes.broken_barh([(onset_s, width_s)], (row - 0.2, 0.5), color=colors[label])
            axes.text(onset_s, row - 0.25, label or UNCLASSIFIED, fontsize=8, color=INK)
            if apex_s is not None:
                axes.vlines(apex_s, row - 0.2, row + 0.3, color=INK, linewidth=1.0)
    axes.set_yticks(range(len(codings)), list(codings))
    axes.set_ylim(len(codings) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.0, line_s)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at_s, _: clock(at_s, duration_s)))
    return _render(figure, 2.0)


def clock(at_s: float, duration_s: float) -> str:
    """Write a time as `m:ss`, or with tenths where the whole is shorter than 20 s: `0:02.5`."""
    minutes, tenths = divmod(round(10 * at_s), 600)
    return f"{minutes}:{tenths // 10:02d}" + (f".{tenths % 10}" if duration_s < 20 else "")


def enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    """Scale a picture to a height, with its proportions."""
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _mark_phases(axes: Axes, x: np.ndarray, curve: np.ndarray, phases: dict[str, int]) -> None:
    """Draw a line, a marker and a name per phase, the names apart from each other and inside the picture."""
    top = axes.get_ylim()[1]
    share = {name: (x[frame] - x[0]) / (x[-1] - x[0] or 1.0) for name, frame in phases.items()}
    # The onset's name ends at its line, the offset's begins at its own, the apex's stands above both.
    sides = {"onset": "right", "apex": "center", "offset": "left"}
    sides |= {name: "left" for name in share if share[name] < 0.1}
    sides |= {name: "right" for name in share if share[name] > 0.9}
    crowded = sides["onset"] == "left" or sides["offset"] == "right"
    levels = {"onset": 0.85, "apex": 0.99, "offset": 0.71 if crowded else 0.85}
    for name, frame in phases.items():
        (color, marker), side, level = PHASE_STYLES[name], sides[name], levels[name] * top
        height = np.nan_to_num(curve[frame])
        axes.vlines(x[frame], 0.0, level, color=color, linewidth=1.2, linestyle=(0, (4, 2)))
        dot = {"markersize": 7, "markeredgecolor": "white", "clip_on": False}
        axes.plot([x[frame]], [height], marker, color=color, **dot)
        above = name == "apex" and side == "center"
        style = {"color": color, "weight": "bold", "ha": side, "va": "bottom" if above else "top"}
        apart = {"right": -4, "left": 4, "center": 0}[side], 0
        axes.annotate(f"{name} {frame}", (x[frame], level), apart, textcoords="offset points", **style)


def _hatch_blinks(axes: Axes, x: np.ndarray, masked: np.ndarray) -> None:
    """Hatch the runs of masked frames and name the first."""
    over = axes.get_xaxis_transform()
    band = {"facecolor": "#E5E7EB", "edgecolor": "#C4C8CF", "linewidth": 0, "hatch": "////"}
    axes.fill_between(x, 0, 1, where=masked, transform=over, **band)
    start, stop = runs(masked)[0]
    middle = x[[start, stop - 1]].mean()
    axes.text(middle, 0.02, "blink", transform=over, ha="center", va="bottom", color=GRAY, fontsize=9)


def _draw_flow_key(figure: Figure, max_px: float) -> None:
    """Draw the wheel of directions in the lower right corner, and write the length of its rim."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = np.dstack([flow_colors(np.dstack([x, y]), 1.0), 255 * (np.hypot(x, y) <= 1.0)]).astype(np.uint8)
    key = figure.add_axes((0.84, 0.02, 0.14, 0.14))
    key.imshow(disc)
    key.set_axis_off()
    box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2}
    rim = f"rim: {max_px:.2f} px"
    figure.text(0.825, 0.025, rim, ha="right", va="bottom", fontsize=11, color=INK, bbox=box)


def _draw_intervals(
    rows: Axes,
    intervals: Sequence,
    blinks: Sequence,
    names: list[str],
    least_s: float,
    several: Mapping[int, str],
) -> None:
    """Draw a row of bars per class, one for motion without a class, and one of ticks for the blinks.

    Of several people each has a colour, and its own part of a row.
    """
    colors = dict(zip(names, cycle(CLASS_COLORS), strict=False)) | {UNCLASSIFIED: UNCLASSIFIED_COLOR}
    tracks = list(several) or [1]
    height = 0.78 / len(tracks)
    place = {person: (k + 0.5) * height - 0.39 for k, person in enumerate(tracks)}
    for start_s, end_s, label, person in intervals:
        name, lasts_s = label or UNCLASSIFIED, max(end_s - start_s, least_s)
        left_s, row = (start_s + end_s - lasts_s) / 2, names.index(name) + place.get(person, 0.0)
        color = several.get(person, colors[name])
        rows.barh(row, lasts_s, left=left_s, height=height, color=color)
    for start_s, end_s, person in blinks:
        middle, half = len(names) - 1 + place.get(person, 0.0), 0.41 * height
        color = several.get(person, GRAY)
        rows.vlines((start_s + end_s) / 2, middle - half, middle + half, color=color, linewidth=1.2)
    rows.set_ylim(len(names) - 0.4, -0.6)
    rows.set_yticks(range(len(names)), names)
    rows.tick_params(axis="y", length=0)
    for row in range(1, len(names)):
        rows.axhline(row - 0.5, color=LINE, linewidth=0.5, zorder=0)


def _canvas(size_wh: tuple[int, int]) -> tuple[Figure, Axes]:
    """Return an empty figure with one plain axes, laid out for `size_wh` pixels."""
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


def _render(figure: Figure, scale: float = 1.0) -> np.ndarray:
    """Return the figure's pixels, without pyplot: it keeps nothing, so a server can draw in threads."""
    figure.set_dpi(_DPI * scale)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
