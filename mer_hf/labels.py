"""Class schemes, the maps between them, and the action units (AUs) of the project."""

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
