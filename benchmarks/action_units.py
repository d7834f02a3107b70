"""Precision, recall and side per action unit on faces that the estimate was not fitted on.

    python -m benchmarks action_units
    python -m benchmarks.action_units --size 600     # the tables of docs/action-units.md

Seeds other than those of the fit, muscles that vary more from face to face, muscles that sit elsewhere and
reach further or less far, and photographs in place of drawings; all rendered and measured with real optical
flow. Some clips go the whole way through face mesh and registration.
"""

import argparse
import math
from dataclasses import dataclass, replace

import numpy as np

from mer_hf.face.action_units import PRESENT, TABLE, Intensities, estimate_action_units
from mer_hf.face.tracking import track_face
from mer_hf.synthetic.clips import Motion, render_clip
from mer_hf.synthetic.expressions import draw_expression, draw_sides
from mer_hf.synthetic.faces import GEOMETRY, FaceSettings, render_face
from mer_hf.synthetic.flow_maps import FlowMapSettings, log_uniform, personal_basis
from mer_hf.synthetic.muscles import PULLS, Pull, side_field, vertex_displacement
from mer_hf.synthetic.template import face_template

HELD_OUT_SEED = 2**31 + 11
SHOWN = tuple(unit.name for unit in TABLE if not unit.hidden)
HIDDEN = tuple(unit.name for unit in TABLE if unit.hidden)
ONE_SIDED = tuple(unit.name for unit in TABLE if not unit.hidden and not unit.midline)
AMPLITUDES_PX = ((0.5, 1.0), (1.0, 2.0), (2.0, 4.0))
"""Motion of an AU's strongest point, at an interocular distance of 60; recall is given for each."""
LEAST_PX = 1.0
"""From here on an AU must be found; a weaker one counts neither as missed nor, if found, as wrong."""


@dataclass(frozen=True)
class Setting:
    """Faces on which the estimate is tried.

    Attributes:
        faces ([`FaceSettings`]): How they are rendered.
        moved (`bool`): Whether muscles sit elsewhere than in `PULLS`.
        published (`bool`): Whether AUs are as frequent as in the published coding sheets. Otherwise all that
            are shown are equally frequent, one to three at once, with a hidden one in a tenth of the clips.
    """

    faces: FaceSettings
    moved: bool = False
    published: bool = False


_QUIET_EYES = FaceSettings(blink=0.0, gaze=0.05, head=0.0, strong_head=0.0, stray=0.0)
SETTINGS: dict[str, Setting] = {
    "drawn faces": Setting(replace(_QUIET_EYES, photograph=0.0, muscle=0.35)),
    "drawn faces, muscles elsewhere": Setting(replace(_QUIET_EYES, photograph=0.0), moved=True),
    "photograph": Setting(replace(_QUIET_EYES, photograph=1.0, muscle=0.35)),
    "photograph, muscles elsewhere": Setting(replace(_QUIET_EYES, photograph=1.0), moved=True),
    "published AUs": Setting(replace(_QUIET_EYES, muscle=0.35), moved=True, published=True),
}
"""Name -> setting. scikit-image's other photograph with a face shows it from the side, without the mouth."""


def moved_muscles(rng: np.random.Generator, names: list[str]) -> dict[str, np.ndarray]:
    """Draw muscles that sit, pull and reach differently: AU -> image-left field `(468, 2)`."""
    points = face_template()[0][:, :2]
    basis = {}
    for name in names:
        elsewhere = rng.normal(0, 0.05, 2) * ((1, 0.4) if name in ("AU5", "AU7", "AU45") else (1, 1))
        pulls = []
        for pull in PULLS[name]:
            midline = abs(points[pull.vertex, 0]) < 1e-3
            target = points[pull.vertex] + (elsewhere + rng.normal(0, 0.03, 2)) * (0 if midline else 1, 1)
            same = np.flatnonzero(np.abs(points[:, 0]) < 1e-3 if midline else points[:, 0] < -1e-3)
            vertex = int(same[np.linalg.norm(points[same] - target, axis=1).argmin()])
            gain, turn = np.exp(rng.normal(0, 0.3)), rng.normal(0, 0.3)
            lateral = pull.lateral * np.cos(turn) - pull.down * np.sin(turn)
            down = pull.lateral * np.sin(turn) + pull.down * np.cos(turn)
            reach = np.exp(rng.uniform(-0.4, 0.4, 2))
            pulls.append(
                Pull(vertex, lateral * gain, down * gain, pull.width * reach[0], pull.height * reach[1])
            )
        basis[name] = side_field(tuple(pulls))
    return basis


def draw_units(rng: np.random.Generator, setting: Setting) -> dict[str, tuple[float, float]]:
    """Draw the AUs of one clip: name -> (left, right) strength."""
    if setting.published:
        return draw_expression(rng, int(rng.integers(3))).activations
    count = int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    among = [name for name in SHOWN if name != "AU45"]
    names = list(rng.choice(among, count, replace=False))
    if rng.random() < 0.1:
        names[-1] = str(rng.choice(HIDDEN))
    activations = {}
    for name in names:
        strength = float(np.exp(0.3 * rng.standard_normal()))
        sides = rng.choice(3, p=[0.7, 0.15, 0.15]) if name in ONE_SIDED else 0
        activations[name] = ((strength, strength), (strength, 0.0), (0.0, strength))[sides]
        activations[name] = (
            draw_sides(rng, name, strength) if rng.random() < 0.2 and sides else activations[name]
        )
    return activations


@dataclass
class Clip:
    """What was shown and what was found; amounts in pixels at an interocular distance of 60."""

    shown: dict[str, tuple[float, float]]
    estimated: Intensities


def render_and_estimate(
    seed: int, index: int, setting: Setting, peak_px: tuple[float, float] = (0.5, 4.0)
) -> Clip:
    """Render one pair of faces and estimate its AUs."""
    rng = np.random.default_rng([seed, index])
    activations = draw_units(rng, setting) if peak_px[1] else {}
    if setting.moved:
        basis = moved_muscles(rng, list(activations))
    else:
        basis = personal_basis(rng, activations, FlowMapSettings(muscle=setting.faces.muscle))
    peak = log_uniform(rng, *peak_px) if activations else 1.0
    faces = replace(setting.faces, peak_px=(peak, peak))
    frames, landmarks_xy = render_face(rng, activations, np.array([0.0, 1.0]), faces, GEOMETRY, basis)
    most = np.linalg.norm(vertex_displacement(activations, basis), axis=1).max() if activations else 1.0
    shown = {name: (left * peak / most, right * peak / most) for name, (left, right) in activations.items()}
    return Clip(shown, estimate_action_units(frames, 0, 1, landmarks_xy))


def score(clips: list[Clip]) -> dict[str, dict[str, float]]:
    """Score what was found: AU -> figures, NaN where no clip gives one.

    The figures are `precision`, `recall` (from `LEAST_PX` on), `recall_<low>_px` for each of `AMPLITUDES_PX`,
    `side` (share of the found AUs with the right side: left, right or both), `f1` and `shown`, a number of
    clips.
    """
    result = {}
    for name in SHOWN:
        detected = np.array([_intensity(clip, name) >= PRESENT for clip in clips])
        amount = np.array([max(clip.shown.get(name, (0.0, 0.0))) for clip in clips])
        row = {"precision": _share(amount[detected & ((amount == 0) | (amount >= 0.5))] > 0)}
        row["recall"] = _share(detected[amount >= LEAST_PX])
        row["f1"] = 2 * row["precision"] * row["recall"] / max(row["precision"] + row["recall"], 1e-9)
        for low, high in AMPLITUDES_PX:
            row[f"recall_{low:g}_px"] = _share(detected[(amount >= low) & (amount < high)])
        sides = [
            _side(clip.estimated[name]) == _side(clip.shown[name], 0.5 * max(clip.shown[name]))
            for clip, hit in zip(clips, detected, strict=True)
            if hit and _clear_side(clip.shown.get(name))
        ]
        row["side"] = _share(np.array(sides))
        row["shown"] = int((amount >= LEAST_PX).sum())
        result[name] = row
    return result


def alarms(clips: list[Clip], ignored: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the share of clips without AUs in which one is found: `any` (but the ignored), and per AU."""
    hits = np.array([[_intensity(clip, name) >= PRESENT for name in SHOWN] for clip in clips])
    counted = [name not in ignored for name in SHOWN]
    shares = dict(zip(SHOWN, hits.mean(axis=0).tolist(), strict=True))
    return {"any": float(hits[:, counted].any(axis=1).mean())} | shares


def still_clips(size: int, setting: Setting) -> list[Clip]:
    """Render faces at rest, with gaze that moves as often as in the setting."""
    return [render_and_estimate(HELD_OUT_SEED + 1, i, setting, peak_px=(0.0, 0.0)) for i in range(size)]


def blinking_clips(size: int, setting: Setting) -> list[Clip]:
    """Render eyes between open and shut: lids that are lowered by 4 to 11 px."""
    clips = []
    for i in range(size):
        rng = np.random.default_rng([HELD_OUT_SEED + 2, i])
        peak = float(rng.uniform(4, 11))
        faces = replace(setting.faces, peak_px=(peak, peak))
        activations = {"AU45": (1.0, 1.0)}
        basis = moved_muscles(rng, ["AU45"]) if setting.moved else None
        frames, landmarks_xy = render_face(rng, activations, np.array([0.0, 1.0]), faces, GEOMETRY, basis)
        clips.append(Clip({"AU45": (peak, peak)}, estimate_action_units(frames, 0, 1, landmarks_xy)))
    return clips


def clips_through_the_pipeline(peak_px: float) -> list[Clip]:
    """Render a clip of each AU and four at rest, and take them through face mesh and registration."""
    clips = []
    for number, unit in enumerate((*SHOWN, None, None, None, None)):
        peak = 8.0 if unit == "AU45" else peak_px
        activations = {unit: (1.0, 1.0)} if unit else {}
        motion = Motion(activations, peak_px=peak, onset_s=0.25, apex_s=0.45, offset_s=0.7)
        track = track_face(render_clip(motion, duration_s=0.8, seed=number).clip)
        estimated = estimate_action_units(
            track.frames, round(0.25 * 30), round(0.45 * 30), track.landmarks_xy
        )
        clips.append(Clip({unit: (peak, peak)} if unit else {}, estimated))
    return clips


def evaluate_action_units(size: int = 200) -> dict[str, dict]:
    """Try the estimate on `size` clips of every setting, and on fewer faces at rest and blinks.

    Returns setting (or `pipeline, <amplitude> px`) -> AU -> figures of `score`, and under `still faces` and
    `blinks` setting -> figures of `alarms`.
    """
    result: dict[str, dict] = {}
    for name, setting in SETTINGS.items():
        result[name] = score([render_and_estimate(HELD_OUT_SEED, i, setting) for i in range(size)])
    calm = {name: setting for name, setting in SETTINGS.items() if not setting.published}
    result["still faces"] = {name: alarms(still_clips(size // 2, s)) for name, s in calm.items()}
    result["blinks"] = {
        name: alarms(blinking_clips(size // 6, s), ignored=("AU45",)) for name, s in calm.items()
    }
    for peak_px in (1.0, 2.0):
        result[f"pipeline, {peak_px:g} px"] = score(clips_through_the_pipeline(peak_px))
    return result


def _intensity(clip: Clip, name: str) -> float:
    value = clip.estimated[name]
    return 0.0 if value is None else value[2]


def _share(hits: np.ndarray) -> float:
    return float(np.mean(hits)) if len(hits) else float("nan")


def _side(sides: tuple[float, ...], least: float = PRESENT) -> str:
    left, right = sides[0] >= least, sides[1] >= least
    return "both" if left and right else "left" if left else "right"


def _clear_side(sides: tuple[float, float] | None) -> bool:
    """Return whether the weaker side moves at most 0.3 or at least 0.7 as far as the other."""
    return sides is not None and not 0.3 < min(sides) / max(sides) < 0.7


def run() -> dict:
    """Return what `make bench` records: `<setting>: <AU> <figure>` -> number, where a clip gives one."""
    result = {}
    for setting, rows in evaluate_action_units().items():
        for name, figures in rows.items():
            for figure, value in figures.items():
                if not math.isnan(value):
                    result[f"{setting}: {name} {figure}"] = round(value, 3)
    return result


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200, help="clips per setting (default: 200)")
    result = evaluate_action_units(parser.parse_args().size)
    print(f"seed {HELD_OUT_SEED}")
    for figures in (("precision", "recall"), ("recall_0.5_px", "recall_1_px", "recall_2_px"), ("side",)):
        print(
            f"\n| {' / '.join(figures)} | "
            + " | ".join(SETTINGS)
            + " |\n"
            + "|---" * (len(SETTINGS) + 1)
            + "|"
        )
        for name in SHOWN:
            cells = (" / ".join(_text(result[s][name][figure]) for figure in figures) for s in SETTINGS)
            print(f"| {name} | " + " | ".join(cells) + " |")
        means = (" / ".join(_text(_mean(result[s], figure)) for figure in figures) for s in SETTINGS)
        print("| mean | " + " | ".join(means) + " |")
    for kind in ("still faces", "blinks"):
        print(
            f"\n{kind}, clips with a false alarm: ", {s: _text(row["any"]) for s, row in result[kind].items()}
        )
        for setting, row in result[kind].items():
            print("  ", setting, {name: _text(value) for name, value in row.items() if value > 0.02})
    for setting in (name for name in result if name.startswith("pipeline")):
        print(f"\n{setting}, precision / recall, where not both 1.00")
        rows = {n: f"{_text(r['precision'])} / {_text(r['recall'])}" for n, r in result[setting].items()}
        print("  ", {name: row for name, row in rows.items() if row != "1.00 / 1.00"})


def _mean(rows: dict[str, dict[str, float]], figure: str) -> float:
    values = [row[figure] for row in rows.values() if not math.isnan(row[figure])]
    return sum(values) / len(values) if values else math.nan


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


if __name__ == "__main__":
    main()
