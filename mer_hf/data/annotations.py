"""What a dataset's annotation says about each clip: checked and, where the mistake is known, fixed.

Every fix and every excluded clip is reported. A fix is keyed by the clip's name, never by a row number:
versions of one sheet differ in their rows.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from mer_hf.labels import CodedUnit

PHASES = ("onset", "apex", "offset")
LONGEST_S = 10.0
"""A clip annotated as longer than this is a typing mistake. Micro-expressions last half a second at most, but
some datasets annotate up to several seconds."""


@dataclass(frozen=True)
class Annotation:
    """One clip as it was annotated.

    Attributes:
        dataset (`str`): Name of the reader.
        subject (`str`): As the dataset's folders write it, without the dataset.
        clip (`str`): Its name; unique together with the subject and the suffix.
        folder (`Path`): Folder of its frames, or a video file.
        emotion (`str`): In the project's spelling, or as annotated where the project has no word for it.
        onset, apex, offset (`int` or None): Numbers in the names of the frames; 0-based frames of a video.
        apex_source (`str`): `annotated`; `midpoint` if the middle between onset and offset is taken;
            `spotted` if a video lacks its onset or offset and the motion curve gives it.
        objective_class (`str`): `""` if there is none.
        action_units (`tuple[CodedUnit, ...]`): As coded.
        video (`str`): The recording that the clip was cut from; `""` if unknown.
        fps (`float` or None): Frames per second, if known.
        suffix (`str`): Distinguishes clips of the same name, such as by their phases; part of the key.
    """

    dataset: str
    subject: str
    clip: str
    folder: Path
    emotion: str
    onset: int | None
    apex: int | None
    offset: int | None
    apex_source: str = "annotated"
    objective_class: str = ""
    action_units: tuple[CodedUnit, ...] = ()
    video: str = ""
    fps: float | None = None
    suffix: str = ""

    @property
    def key(self) -> str:
        """Return `dataset/subject/clip[/suffix]`."""
        return "/".join(part for part in (self.dataset, self.subject, self.clip, self.suffix) if part)

    @property
    def subject_key(self) -> str:
        """Return `dataset/subject`."""
        return f"{self.dataset}/{self.subject}"


@dataclass
class Findings:
    """Result of reading an annotation.

    Attributes:
        annotations (`list[Annotation]`): Clips that can be prepared.
        fixed (`list[tuple[str, str]]`): Key of a clip, and what was changed.
        excluded (`list[tuple[str, str]]`): Key of a clip, and why it is excluded.
        notes (`list[str]`): Remarks on the whole dataset.
        sheet (`str`): Name of the sheet that was read.
        name, title (`str`): Of the reader.
        published (`dict[str, int]`): Published numbers of clips, by source.
    """

    annotations: list[Annotation] = field(default_factory=list)
    fixed: list[tuple[str, str]] = field(default_factory=list)
    excluded: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sheet: str = ""
    name: str = "table"
    title: str = ""
    published: dict[str, int] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set, repr=False)

    def add(self, annotation: Annotation, fault: str = "", notes: tuple[str, ...] = ()) -> None:
        """Add a clip, fixed if necessary, or exclude it for all its faults; `notes` are of its units."""
        key = annotation.key
        self.fixed += [(key, f"action units: {note}") for note in notes]
        twice = "is annotated twice" if key in self._keys else ""
        reasons = [reason for reason in (fault, twice, _why_unusable(annotation)) if reason]
        self._keys.add(key)
        if reasons:
            self.excluded.append((key, "; ".join(reasons)))
            return
        annotation, fix = _with_apex(annotation)
        self.fixed += [(key, fix)] if fix else []
        self.annotations.append(annotation)


def _why_unusable(annotation: Annotation) -> str:
    """Return why the phases of a clip cannot be used, or `""`."""
    onset, offset = annotation.onset, annotation.offset
    if annotation.apex_source == "spotted":
        return ""
    if onset is None or offset is None:
        return "has no onset or no offset"
    if offset <= onset:
        return f"ends at frame {offset}, not after its onset at {onset}"
    if annotation.fps and (offset - onset) / annotation.fps > LONGEST_S:
        return f"lasts from frame {onset} to {offset}, more than {LONGEST_S:.0f} s"
    return ""


def _with_apex(annotation: Annotation) -> tuple[Annotation, str]:
    """Replace an apex that is missing or impossible by the middle of the clip; also return what was fixed."""
    onset, apex, offset = annotation.onset, annotation.apex, annotation.offset
    if annotation.apex_source == "spotted" or (apex is not None and onset < apex <= offset):
        return annotation, ""
    if apex is None:
        fault = "" if annotation.apex_source == "midpoint" else "has no apex"
    elif apex == onset:
        fault = f"apex is the onset ({onset}), no motion"
    else:
        fault = f"apex {apex} lies outside {onset} to {offset}"
    middle = onset + (offset - onset) // 2
    fix = f"{fault}: took the middle, {middle}" if fault else ""
    return replace(annotation, apex=middle, apex_source="midpoint"), fix
