"""Class schemes, the maps between them, and the action units (AUs) of the project."""

import re
from dataclasses import dataclass

SCHEMES: dict[str, tuple[str, ...]] = {
    "composite3": ("negative", "positive", "surprise"),
    "four": ("happiness", "surprise", "negative", "others"),
    "five": ("happiness", "surprise", "disgust", "repression", "others"),
    "seven": ("happiness", "surprise", "disgust", "fear", "anger", "sadness", "others"),
}
"""Scheme name -> class names in index order. `composite3` is the order of the MEGC2019 composite list."""

TO_COMPOSITE3: dict[str, str | None] = {
    "negative": "negative",
    "positive": "positive",
    "surprise": "surprise",
    "happiness": "positive",
    "disgust": "negative",
    "repression": "negative",
    "anger": "negative",
    "contempt": "negative",
    "fear": "negative",
    "sadness": "negative",
    "others": None,
}
"""Emotion -> composite class; None where the composite excludes the clip. CASME II's fear and sadness are
excluded by the official list of clips, not by this table."""

SPELLINGS = {"other": "others", "happy": "happiness", "sad": "sadness", "angry": "anger"}
"""Spelling in annotation sheets -> spelling used here."""

ACTION_UNITS: dict[str, str] = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU12": "lip corner puller",
    "AU14": "dimpler",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU17": "chin raiser",
    "AU18": "lip pucker",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU28": "lip suck",
    "AU45": "blink",
}
"""FACS code -> name (Ekman and Friesen): the 21 units that FaceSleuth takes, in its order."""


def normalise_emotion(name: str) -> str:
    """Return an annotated emotion in the project's spelling, one of the keys of `TO_COMPOSITE3`.

    Raises:
        ValueError: If the emotion is unknown.
    """
    key = name.strip().lower()
    key = SPELLINGS.get(key, key)
    if key not in TO_COMPOSITE3:
        raise ValueError(f"unknown emotion {name!r}. Known: {', '.join(TO_COMPOSITE3)}.")
    return key


# --- the notation of coders ---------------------------------------------------------------------------------

UNIT = re.compile(r"^(AU|AD)?\s*([LRATB]?)\s*(\d{1,2})\s*([A-E]?)$", re.IGNORECASE)
SIDES = {"L": "left", "R": "right", "A": "asymmetric", "T": "top", "B": "bottom", "": ""}


@dataclass(frozen=True)
class CodedUnit:
    """An action unit as a person coded it.

    Attributes:
        number (`int`): In the Facial Action Coding System; above 46, head and eye positions and others.
        side (`str`): `left`, `right`, `asymmetric`, `top`, `bottom` or `""`.
        intensity (`str`): `A` to `E`, or `""`.
    """

    number: int
    side: str = ""
    intensity: str = ""


def parse_action_units(text: str) -> tuple[tuple[CodedUnit, ...], tuple[str, ...]]:
    """Read coded action units, such as `4+L10`, `(R6 or R12) + R15`, `A14C`, `10A/B`, `AD38` or `?`.

    Returns the units in the order in which they are written, each once, and notes on what is ambiguous: the
    first of several alternatives is taken; action descriptors (AD) and anything else are excluded.
    """
    units: list[CodedUnit] = []
    notes: list[str] = []
    # A full-width comma occurs in published sheets.
    for part in re.split(r"[+,;\uff0c]", text):
        part = part.strip()
        if not part or part == "?":
            continue
        choices = list(filter(None, re.split(r"\bor\b|/", part.strip("() "), flags=re.IGNORECASE)))
        if len(choices) > 1:
            notes.append(f"{part}: took {choices[0].strip()}")
        # A cell that holds one number may be read as 4.0.
        match = UNIT.match(choices[0].strip("() ").removesuffix(".0") if choices else "")
        if not match or (match[1] or "").upper() == "AD":
            notes.append(f"excluded {part}")
            continue
        unit = CodedUnit(int(match[3]), SIDES[match[2].upper()], match[4].upper())
        if unit not in units:
            units.append(unit)
    return tuple(units), tuple(notes)
