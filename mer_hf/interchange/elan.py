"""ELAN's `.eaf`: a tier for expressions, one for phases, one for each action unit, blinks and lost faces.

The value of an expression is its class and probability, `positive (0.83)`; that of an action unit is its
strength, `left B (0.66, 0.12)`. Tiers of the second person end in ` @2`.
"""

import os
from pathlib import Path

from pympi.Elan import Eaf

from mer_hf.utils.files import replacing

from .coding import KINDS, Coding
from .marks import BLINK, FALL, KIND_OF, LOST, NAMES, PHASES, RISE, Mark, from_marks, marks_of

EXPRESSIONS = "expression"
_MIME = {".mp4": "video/mp4", ".mpg": "video/mpeg", ".mpeg": "video/mpeg", ".mov": "video/quicktime"}


def write(path: str | os.PathLike, coding: Coding) -> None:
    """Write a file that ELAN opens beside the video."""
    eaf = Eaf(author=coding.author or "mer_hf")
    eaf.remove_tier("default")
    if coding.video:
        link, beside = _links(Path(coding.video), Path(path))
        eaf.add_linked_file(link, beside, _MIME.get(Path(coding.video).suffix.lower(), "video/*"))
    for name, value in (("fps", coding.fps), ("duration_s", coding.duration_s), ("sha256", coding.sha256)):
        if value:
            eaf.add_property(f"mer_hf:{name}", str(value))
    for mark in marks_of(coding.kept, coding.blinks, coding.gaps):
        tier, value = _tier_and_value(mark)
        if tier not in eaf.get_tier_names():
            eaf.add_tier(tier, part=f"person {mark.person}", ann=coding.author)
        start = round(1000 * mark.start_s)
        eaf.add_annotation(tier, start, max(round(1000 * mark.end_s), start + 1), value)
    with replacing(path) as temporary:
        eaf.to_file(str(temporary))


def read(path: str | os.PathLike) -> Coding:
    """Read the tiers that `write` makes, as a person changed them; other tiers are left out."""
    eaf = Eaf(str(path), suppress_version_warning=True)
    properties = {name.removeprefix("mer_hf:"): text for name, text in eaf.get_properties()}
    marks = []
    for tier in eaf.get_tier_names():
        name, _, person = tier.partition(" @")
        for start, end, value, *_ in eaf.get_annotation_data_for_tier(tier):
            if start is not None and end is not None and (known := _name_of(name, value)):
                marks.append(Mark(start / 1000, end / 1000, *known, int(person or 1)))
    media = eaf.media_descriptors[0] if eaf.media_descriptors else {}
    numbers = {name: float(properties[name]) for name in ("fps", "duration_s") if properties.get(name)}
    return Coding(
        media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL", ""),
        properties.get("sha256") or "",
        coder=eaf.adocument.get("AUTHOR", ""),
        **numbers,
        **from_marks(marks, 1 / numbers["fps"] if numbers.get("fps") else 0.0),
    )


def _links(video: Path, path: Path) -> tuple[str, str]:
    """Return where the video is, and where from the file: beside it if only a name is known."""
    if len(video.parts) == 1 and not video.exists():
        return f"./{video.name}", f"./{video.name}"
    beside = os.path.relpath(video.absolute(), path.absolute().parent)
    return video.absolute().as_uri(), Path(beside).as_posix()


def _tier_and_value(mark: Mark) -> tuple[str, str]:
    tier, value = mark.name, mark.value
    if mark.name in (RISE, FALL):
        tier, value = PHASES, mark.name
    elif KIND_OF.get(mark.name) in KINDS[:2]:
        tier = EXPRESSIONS
    return tier + (f" @{mark.person}" if mark.person > 1 else ""), value


def _name_of(tier: str, value: str) -> tuple[str, str] | None:
    """Return name and value of a mark; None for a tier that is not ours."""
    if tier == PHASES:
        return (value.strip(), "") if value.strip() in (RISE, FALL) else None
    known = tier in (*NAMES.values(), BLINK, LOST) or tier.startswith("AU")
    return (tier, value) if known else None
