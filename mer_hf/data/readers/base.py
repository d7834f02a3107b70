"""What the readers share: finding the sheet and the folders, and turning a row into an annotation."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mer_hf.labels import normalise_emotion, parse_action_units
from mer_hf.video.clip import numbered_frames

from ..annotations import PHASES, Annotation, Findings
from ..sheets import frame_number, read_sheet

FLAGS = {
    "root": "--root DIR, the dataset as you received it",
    "sheet": "--sheet FILE, its annotation sheet",
    "list_file": "--list FILE, the challenge's list of clips",
    "csv": "--csv FILE, your table of clips",
    "class_map": "--class-map LABEL=CLASS",
}
"""Parameter of a reader -> its flag."""

OPTIONAL = ("apex", "objective", "units")
"""Fields whose column may be missing."""


@dataclass(frozen=True)
class Reader:
    """A dataset that `mer-hf prepare` knows by name.

    Attributes:
        name (`str`): Key in `READERS`.
        title (`str`): As the field writes it; `""` for the name of the sheet.
        function (`Callable`): Takes some of `FLAGS` and returns [`Findings`].
        published (`dict[str, int]`): Published or counted numbers of clips: sheet or paper -> clips.
    """

    name: str
    title: str
    function: Callable[..., Findings]
    published: dict[str, int] = field(default_factory=dict)

    def read(self, **options: Any) -> Findings:
        """Read the annotation and find the frames of every clip. Nothing is downloaded or written.

        Args:
            **options: As far as the reader takes them.
            root (`Path`, *optional*): Folder of the dataset. All readers need it except `table`.
            sheet (`Path`, *optional*): Annotation sheet; by default it is looked for below the root.
            list_file (`Path`, *optional*): Official list of clips; `megc2019` needs it.
            csv (`Path`, *optional*): A user's own table; `table` needs it.
            class_map (`dict[str, str]`, *optional*): Label -> class, for `table`.

        Returns:
            [`Findings`]: Clips that can be prepared, what was fixed, and what is excluded.

        Raises:
            ValueError: If an option is missing or does not apply, or the dataset cannot be read.
        """
        options = {name: value for name, value in options.items() if value is not None}
        parameters = inspect.signature(self.function).parameters
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in options:
                raise ValueError(f"prepare {self.name} needs {FLAGS[name]}.")
        for name, value in options.items():
            flag = FLAGS[name].split()[0]
            if name not in parameters:
                raise ValueError(f"prepare {self.name} does not use {flag}.")
            if name == "root" and not value.is_dir():
                raise ValueError(f"{flag} {value} is not a folder. Give the folder of the dataset.")
            if isinstance(value, Path) and not value.exists():
                raise ValueError(f"{flag} {value} does not exist.")
        findings = self.function(**options)
        findings.name, findings.title = self.name, self.title or findings.sheet
        findings.published = self.published
        return findings


@dataclass(frozen=True)
class Layout:
    """How one dataset writes its sheet and names its folders, from layouts.yaml.

    Attributes:
        name, title (`str`), published (`dict[str, int]`): Of the reader.
        sheets (`list[str]`): Patterns of the sheet's file name, the best first.
        columns (`dict[str, list[str]]`): Field -> names of its column in versions of the sheet; `apex`,
            `objective` and `units` may be missing. The subject's column is in the header row.
        folders (`list[str]`): Where the frames may be, relative to the root, the best first.
        find_folders (`Callable`): Takes a row's fields and returns the same, if no pattern says it.
        subject (`str`): How folders write the number of a subject; by default the cell.
        emotion (`Callable`): Row -> annotated emotion; by default its column.
        sheet (`str`): Name of the sheet in its workbook; by default the first.
        fix (`Callable`): Annotation -> annotation and what was fixed, for known mistakes in a clip.
        suffix (`str`): Field that is part of the key, because names repeat.
        has_videos (`bool`): Whether subject and clip name the recording.
        fps (`float` or None): Frames per second.
        notes (`list[str]`): For the report.
    """

    name: str
    title: str
    published: dict[str, int]
    sheets: list[str]
    columns: dict[str, list[str]]
    folders: list[str] = field(default_factory=list)
    find_folders: Callable[[dict[str, str]], list[str]] | None = None
    subject: str = ""
    emotion: Callable[[dict[str, str]], str] | None = None
    sheet: str = ""
    fix: Callable[[Annotation], tuple[Annotation, str]] = lambda annotation: (annotation, "")
    suffix: str = ""
    has_videos: bool = False
    fps: float | None = None
    notes: list[str] = field(default_factory=list)

    def reader(self) -> Reader:
        """Return the reader of this dataset."""
        return Reader(self.name, self.title, partial(read_layout, self), self.published)

    def subject_of(self, cell: str) -> str:
        """Return the subject as folders write it."""
        digits = re.search(r"\d+", cell)
        return self.subject.format(int(digits[0])) if self.subject and digits else cell


def find_sheet(root: Path, patterns: list[str]) -> Path:
    """Return the first annotation sheet that is found below the root."""
    for pattern in patterns:
        paths = sorted(root.glob(pattern)) or sorted(root.glob(f"*/{pattern}"))
        if paths:
            return paths[0]
    raise ValueError(
        f"{root} holds no annotation sheet ({' or '.join(patterns)}). Put it there, or give it with --sheet."
    )


def emotion_of(text: str) -> str:
    """Return an emotion in the project's spelling, or as annotated if the project has no word for it."""
    try:
        return normalise_emotion(text)
    except ValueError:
        return text.strip().lower()


def frame_range(folder: Path) -> tuple[int, int]:
    """Return the first and the last number of the frames in a folder."""
    frames = numbered_frames(folder)
    if not frames:
        raise ValueError(f"{folder} holds no numbered picture")
    return min(frames), max(frames)


def existing(root: Path, candidates: list[str]) -> Path | None:
    """Return the first of several folders that exists; an exact name wins over one in another case."""
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    for candidate in candidates:
        folders = [root]
        for part in Path(candidate).parts:
            inside = [path for folder in folders for path in folder.iterdir() if path.is_dir()]
            folders = [path for path in inside if path.name.lower() == part.lower()]
        if folders:
            return folders[0]
    return None


def read_layout(layout: Layout, root: Path, sheet: Path | None = None) -> Findings:
    """Read a dataset that has a sheet."""
    path = sheet or find_sheet(root, layout.sheets)
    rows = read_sheet(path, layout.columns["subject"][0], layout.sheet)
    names = _columns(layout, rows, path)
    findings = Findings(sheet=path.name, notes=list(layout.notes))
    for row in rows:
        cells = {name: row[column_name] for name, column_name in names.items()} | {"row": row}
        missing = [name for name in ("subject", "clip") if not cells[name]]
        if not missing:
            _add_row(layout, root, cells, findings)
        elif len(missing) == 1:  # a row without both is a remark
            key = f"{layout.name}/{cells['subject'] or '?'}/{cells['clip'] or '?'}"
            findings.excluded.append((key, f"the sheet has no {missing[0]} for it"))
    if not findings.annotations:
        count, reasons = len(findings.excluded), [reason for _, reason in findings.excluded]
        reason = f"{reasons[0]}. Is it the right folder?" if reasons else "the sheet names none."
        raise ValueError(f"none of the {count} clips of {path.name} can be read from {root}: {reason}")
    return findings


def _columns(layout: Layout, rows: list[dict[str, str]], path: Path) -> dict[str, str]:
    """Return the column of each field."""
    available, names = rows[0] if rows else {}, {}
    for name, choices in layout.columns.items():
        present = [choice.lower() for choice in choices if choice.lower() in available]
        if present:
            names[name] = present[0]
        elif name not in OPTIONAL:
            columns = ", ".join(available) or "none"
            raise ValueError(f"{path} has no column {' or '.join(choices)}; its columns: {columns}.")
    return names


def _add_row(layout: Layout, root: Path, cells: dict, findings: Findings) -> None:
    """Turn a row into an annotation, with known mistakes fixed; exclude it if its frames are missing."""
    subject, clip = layout.subject_of(cells["subject"]), cells["clip"]
    candidates = [pattern.format(subject=subject, clip=clip) for pattern in layout.folders]
    if layout.find_folders:
        candidates = layout.find_folders(cells)
    folder = existing(root, candidates)
    if folder is None:
        key = f"{layout.name}/{subject}/{clip}"
        findings.excluded.append((key, f"there is no folder {' or '.join(candidates)}"))
        return
    units, ambiguous = parse_action_units(cells.get("units", ""))
    emotion = emotion_of(layout.emotion(cells["row"]) if layout.emotion else cells["emotion"])
    known = {name: frame_number(cells.get(name, "")) for name in PHASES}
    known |= {"objective_class": cells.get("objective", ""), "action_units": units, "fps": layout.fps}
    known["video"] = f"{layout.name}/{subject}/{clip.lower()}" if layout.has_videos else ""
    known["suffix"] = cells.get(layout.suffix, "")
    annotation, fix = layout.fix(Annotation(layout.name, subject, clip, folder, emotion, **known))
    findings.fixed += [(annotation.key, fix)] if fix else []
    findings.add(annotation, notes=ambiguous)
