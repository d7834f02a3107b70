"""What the readers share: finding the sheet and the folders, and turning a row into an annotation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mer_hf.labels import normalise_emotion

from ..annotations import Annotation, Findings
from ..sheets import column, frame_number, parse_action_units, read_sheet


@dataclass(frozen=True)
class Reader:
    """A data set whose clips are prepared by name.

    Attributes:
        name (`str`): Key in `READERS`.
        title (`str`): As the field writes it.
        read (`Callable`): `read(root, sheet, list_file) -> Findings`.
        published (`dict[str, int]`): What is published or was counted: a sheet or paper -> clips.
        fps (`float` or None): Frames per second.
    """

    name: str
    title: str
    read: Callable[[Path, Path | None, Path | None], Findings]
    published: dict[str, int]
    fps: float | None = None


@dataclass(frozen=True)
class Layout:
    """How one data set writes its sheet and names its folders.

    Attributes:
        name (`str`): Key of the reader.
        sheets (`tuple[str, ...]`): Patterns of the sheet's file name, the best first.
        columns (`dict[str, tuple[str, ...]]`): Field -> the names its column has in versions of the sheet;
            `apex`, `objective` and `units` may be missing.
        folders (`Callable`): Row's fields -> where the frames may be, relative to the root, the best first.
        subject (`Callable[[str], str]`): A cell -> the subject as folders write it.
        emotion (`Callable[[dict], str]`): Row -> annotated emotion; by default its column.
        first_cell (`str`): A cell of the header row.
        sheet (`str`): In its workbook; the first where there is none of the name.
        mend (`Callable`): Annotation -> annotation and what was repaired, for known faults of a clip.
        with_onset (`bool`): Whether the onset is part of the key, because names repeat.
        video (`Callable[[str, str], str]`): Subject and clip -> the recording.
        fps (`float` or None): Frames per second.
        notes (`tuple[str, ...]`): For the report.
    """

    name: str
    sheets: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    folders: Callable[[dict[str, str]], list[str]]
    subject: Callable[[str], str] = str
    emotion: Callable[[dict[str, str]], str] | None = None
    first_cell: str = "Subject"
    sheet: str = ""
    mend: Callable[[Annotation], tuple[Annotation, str]] = lambda annotation: (annotation, "")
    with_onset: bool = False
    video: Callable[[str, str], str] = lambda subject, clip: ""
    fps: float | None = None
    notes: tuple[str, ...] = field(default=())


def find_sheet(root: Path, patterns: tuple[str, ...], given: Path | None) -> Path:
    """The annotation sheet: the one that is given, or the first that is found below the root.

    Raises:
        ValueError: In one line, if the root is no folder or there is no sheet in it.
    """
    if not root.is_dir():
        raise ValueError(f"--root {root} is no folder. Give the folder of the data set.")
    if given is not None:
        if not given.is_file():
            raise ValueError(f"--sheet {given} does not exist.")
        return given
    for pattern in patterns:
        found = sorted(root.glob(pattern)) or sorted(root.glob(f"*/{pattern}"))
        if found:
            return found[0]
    raise ValueError(
        f"{root} holds no annotation sheet ({' or '.join(patterns)}). Put it there, or give it with --sheet."
    )


def emotion_of(text: str) -> str:
    """An emotion in the project's spelling, or as it is annotated where the project has no word for it."""
    try:
        return normalise_emotion(text)
    except ValueError:
        return text.strip().lower()


def existing(root: Path, candidates: list[str]) -> Path | None:
    """The first of some folders that exists; a name that differs in case only is found too."""
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    for candidate in candidates:
        place = root
        for part in Path(candidate).parts:
            below = (
                [each for each in place.iterdir() if each.name.lower() == part.lower()]
                if place.is_dir()
                else []
            )
            if not below:
                break
            place = below[0]
        else:
            if place.is_dir():
                return place
    return None


def read_layout(layout: Layout, root: Path, sheet: Path | None) -> Findings:
    """Read a data set that has a sheet.

    Args:
        layout ([`Layout`]): Of the data set.
        root (`Path`): Its folder.
        sheet (`Path`, *optional*): The annotation sheet, if it lies elsewhere.

    Returns:
        [`Findings`]: Annotated clips, repairs, and what is left out.

    Raises:
        ValueError: In one line, if there is no sheet, a column is missing, or no clip has a folder.
    """
    path = find_sheet(root, layout.sheets, sheet)
    rows = read_sheet(path, layout.first_cell, layout.sheet)
    names: dict[str, str] = {}
    for field_name, choices in layout.columns.items():
        optional = field_name in ("apex", "objective", "units")
        if optional and rows and not any(choice.lower() in rows[0] for choice in choices):
            continue
        names[field_name] = column(rows, path, *choices)
    findings = Findings(sheet=path.name, notes=list(layout.notes))
    missing = 0
    for row in rows:
        cells = {field_name: row[name] for field_name, name in names.items()} | {"row": row}
        if not cells["clip"] or not cells["subject"]:
            continue
        annotation = _annotation(layout, root, cells)
        if annotation is None:
            missing += 1
            key = f"{layout.name}/{layout.subject(cells['subject'])}/{cells['clip']}"
            wanted = " or ".join(layout.folders(cells | {"subject": layout.subject(cells["subject"])}))
            findings.skipped.append((key, f"there is no folder {wanted}"))
            continue
        annotation, repair = layout.mend(annotation)
        if repair:
            findings.repaired.append((annotation.key, repair))
        _, unclear = parse_action_units(cells.get("units", ""))
        findings.repaired += [(annotation.key, f"action units: {note}") for note in unclear]
        findings.add(annotation)
    if missing and not findings.annotations:
        raise ValueError(
            f"none of the {missing} clips of {path.name} has its frames in {root}: {findings.skipped[0][1]}. "
            "Is it the right folder?"
        )
    return findings


def _annotation(layout: Layout, root: Path, cells: dict) -> Annotation | None:
    """A row as an annotation, None if its frames are not there."""
    subject, clip = layout.subject(cells["subject"]), cells["clip"]
    folder = existing(root, layout.folders(cells | {"subject": subject}))
    if folder is None:
        return None
    numbers = {name: frame_number(cells.get(name, "")) for name in ("onset", "apex", "offset")}
    emotion = layout.emotion(cells["row"]) if layout.emotion else cells["emotion"]
    video = layout.video(subject, clip)
    return Annotation(
        database=layout.name,
        subject=subject,
        clip=clip,
        folder=folder,
        emotion=emotion_of(emotion),
        objective_class=cells.get("objective", ""),
        action_units=parse_action_units(cells.get("units", ""))[0],
        video=f"{layout.name}/{video}" if video else "",
        fps=layout.fps,
        suffix=cells["onset"] if layout.with_onset else "",
        **numbers,
    )
