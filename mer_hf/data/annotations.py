"""What the annotation of a data set says of each clip, checked and, where it is known how, repaired.

Every repair and every clip that is left out is reported; nothing is mended in silence. Repairs are found by
the clip's name, never by a row: versions of one sheet differ in their rows.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from .sheets import CodedUnit

LONGEST_S = 10.0
"""A clip that is annotated as longer is a slip of the pen; micro-expressions last half a second at most, but
some data sets annotate up to several."""


@dataclass(frozen=True)
class Annotation:
    """One clip as it was annotated.

    Attributes:
        database (`str`): Key of the reader.
        subject (`str`): As folders of the data set write it, without the database.
        clip (`str`): Its name; with the subject (and for `casme3` the onset) it is unique.
        folder (`Path`): Its frames, or a video file.
        emotion (`str`): In the project's spelling, or as annotated where it has none.
        onset, apex, offset (`int` or None): As numbers in the frames' names; 0-based frames of a video. None
            where the annotation has none.
        apex_source (`str`): `annotated`; `midpoint` where the middle between onset and offset is taken;
            `spotted` where a video has no phases and they are found by the motion curve.
        objective_class (`str`): `""` if there is none.
        action_units (`tuple[CodedUnit, ...]`): As coded.
        video (`str`): The recording that the clip was cut from; `""` if unknown.
        fps (`float` or None): Frames per second, where known.
        suffix (`str`): Distinguishes clips of one name; part of the key.
    """

    database: str
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
        """`database/subject/clip[/suffix]`."""
        return "/".join(part for part in (self.database, self.subject, self.clip, self.suffix) if part)


@dataclass
class Findings:
    """What reading an annotation gave.

    Attributes:
        annotations (`list[Annotation]`): Clips that can be prepared.
        repaired (`list[tuple[str, str]]`): Key -> what was changed, and to what.
        skipped (`list[tuple[str, str]]`): Key -> why it is left out.
        notes (`list[str]`): What holds for the whole data set.
        sheet (`str`): Name of the sheet that was read.
    """

    annotations: list[Annotation] = field(default_factory=list)
    repaired: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sheet: str = ""

    def _is_new(self, key: str) -> bool:
        if key in self._seen:
            self.skipped.append((key, "is annotated twice"))
            return False
        self._seen.add(key)
        return True

    def add_unspotted(self, annotation: Annotation) -> None:
        """Take a video without phases: they are spotted when it is prepared."""
        if self._is_new(annotation.key):
            self.annotations.append(replace(annotation, apex_source="spotted"))

    def add(self, annotation: Annotation) -> None:
        """Check one clip: take it, mend it, or leave it out with the reason."""
        key = annotation.key
        if not self._is_new(key):
            return
        onset, apex, offset = annotation.onset, annotation.apex, annotation.offset
        if onset is None or offset is None:
            self.skipped.append((key, "has no onset or no offset"))
            return
        if offset <= onset:
            self.skipped.append((key, f"ends at frame {offset}, not after its onset at {onset}"))
            return
        if annotation.fps and (offset - onset) / annotation.fps > LONGEST_S:
            self.skipped.append((key, f"lasts from frame {onset} to {offset}, more than {LONGEST_S:.0f} s"))
            return
        middle = onset + (offset - onset) // 2
        if apex is None:
            if annotation.apex_source != "midpoint":
                self.repaired.append((key, f"has no apex: took the middle, {middle}"))
            annotation = replace(annotation, apex=middle, apex_source="midpoint")
        elif not onset <= apex <= offset:
            self.repaired.append(
                (key, f"apex {apex} lies outside {onset} to {offset}: took the middle, {middle}")
            )
            annotation = replace(annotation, apex=middle, apex_source="midpoint")
        elif apex == onset:
            self.repaired.append((key, f"apex is the onset ({onset}), no motion: took the middle, {middle}"))
            annotation = replace(annotation, apex=middle, apex_source="midpoint")
        self.annotations.append(annotation)

    def __post_init__(self):
        self._seen: set[str] = set()
