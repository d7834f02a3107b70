"""ELAN's `.eaf`: a tier for expressions, one for phases, one for each action unit, blinks and lost faces.

The value of an expression is its class and probability, `positive (0.83)`; that of an action unit is its
strength, `left B (0.66, 0.12)`. Tiers of the second person end in ` @2`. A second expression of one person at
the same time is on tiers that end in ` #2`.
"""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

from pympi.Elan import Eaf

from mer_hf.utils.files import replacing
from mer_hf.utils.untrusted import finite, read_text

from .coding import KINDS, Coding
from .marks import FALL, KIND_OF, PHASES, RISE, Mark, from_marks, known_name, marks_of

EXPRESSIONS = "expression"
_TIER = re.compile(r"(.*?)(?: #(\d{1,3}))?(?: @(\d{1,3}))?", re.DOTALL | re.ASCII)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MIME = {".mp4": "video/mp4", ".mpg": "video/mpeg", ".mpeg": "video/mpeg", ".mov": "video/quicktime"}


def write(path: str | os.PathLike, coding: Coding) -> None:
    """Write a file that ELAN opens beside the video."""
    author = _NO_XML.sub("?", coding.author)
    eaf = Eaf(author=author or "mer_hf")
    eaf.remove_tier("default")
    if coding.video:
        link, beside = (_NO_XML.sub("?", each) for each in _links(coding.video, Path(path)))
        eaf.add_linked_file(link, beside, _MIME.get(Path(coding.video).suffix.lower(), "video/*"))
    for name, value in (("fps", coding.fps), ("duration_s", coding.duration_s), ("sha256", coding.sha256)):
        if value:
            eaf.add_property(f"mer_hf:{name}", str(value))
    for mark in marks_of(coding.kept, coding.blinks, coding.gaps):
        tier, value = _tier_and_value(mark)
        if tier not in eaf.get_tier_names():
            eaf.add_tier(tier, part=f"person {mark.person}", ann=author)
        start = round(1000 * mark.start_s)
        end = max(round(1000 * mark.end_s), start + 1)
        eaf.add_annotation(tier, start, end, _NO_XML.sub("?", value))
    with replacing(path) as temporary:
        eaf.to_file(str(temporary))


def read(path: str | os.PathLike) -> Coding:
    """Read the tiers that `write` makes, as a person changed them; other tiers are left out."""
    eaf = _opened(path)
    properties = {name.removeprefix("mer_hf:"): text for name, text in eaf.get_properties()}
    marks = []
    for tier in eaf.get_tier_names():
        name, line, person = _TIER.fullmatch(tier).groups()
        for start, end, value, *_ in eaf.get_annotation_data_for_tier(tier):
            if start is not None and end is not None and (known := _name_of(name, value)):
                marks.append(Mark(start / 1000, end / 1000, *known, int(person or 1), int(line or 1)))
    used = [tier for tier in eaf.get_tier_names() if eaf.get_annotation_data_for_tier(tier)]
    if used and not marks:
        raise ValueError(f"none of its tiers ({', '.join(used)}) is called expression, phases, AU12 or alike")
    media = eaf.media_descriptors[0] if eaf.media_descriptors else {}
    numbers = {name: finite(properties[name], name) for name in ("fps", "duration_s") if properties.get(name)}
    found = from_marks(marks, 1 / numbers["fps"] if numbers.get("fps") else 0.0)
    video = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL", "")
    sha256, author = properties.get("sha256") or "", eaf.adocument.get("AUTHOR", "")
    return Coding(video, sha256, coder=author, **numbers, **found)


def _opened(path: str | os.PathLike) -> Eaf:
    text = read_text(path)
    try:
        if (root := ElementTree.fromstring(text).tag) != "ANNOTATION_DOCUMENT":
            raise ValueError(f"it begins with {root[:40]}")
        return Eaf(str(path), suppress_version_warning=True)
    except (SyntaxError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"it is not an ELAN file ({error})") from error


def _links(named: str, path: Path) -> tuple[str, str]:
    """Return where the video is, and where from the file: beside it if only a name is known."""
    if "://" in named:  # a stream
        return named, named
    video = Path(named)
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
    marked = (f" {sign}{number}" for sign, number in (("#", mark.line), ("@", mark.person)) if number > 1)
    return "".join([tier, *marked]), value


def _name_of(tier: str, value: str) -> tuple[str, str] | None:
    """Return name and value of a mark; None for a tier that is not ours."""
    if tier.strip().lower() == PHASES:
        return (value.strip(), "") if value.strip() in (RISE, FALL) else None
    return (tier, value) if known_name(tier) else None
