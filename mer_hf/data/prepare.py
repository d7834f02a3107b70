"""Turns a data set into a folder of aligned faces that training reads: checked, in parallel, resumable.

    OUT/clips/<clip>.parquet   one per clip, while the work goes on
    OUT/data/                  all of them as an Arrow data set, at the end
    OUT/report.json            what was found, repaired and left out, and why

A clip's file is written under a temporary name and renamed; a second run goes on with what is missing, and
does a clip again if its pictures, its annotation or the options have changed.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mer_hf import __version__
from mer_hf.face.spotting import spot
from mer_hf.face.tracking import FaceGeometry, track_face
from mer_hf.video.clip import Clip, numbered_frames, read_clip, read_pictures

from .annotations import Annotation, Findings

GEOMETRY = FaceGeometry(size=320, eye_row=0.4, interocular_fraction=0.32)
"""Wide enough for the crop of every network, at the scale of the default one; the networks' own crops are cut
from it when it is read."""

NEAREST = 3
"""A missing frame is replaced by one at most so many numbers away."""

Progress = Callable[[int, int], None]


def features():
    """The columns of a prepared data set, as `datasets.Features`."""
    from datasets import Array3D, Features, Image, List, Value

    return Features(
        {
            "key": Value("string"),
            "database": Value("string"),
            "subject": Value("string"),
            "video": Value("string"),
            "interval": List(Value("int64")),
            "emotion": Value("string"),
            "objective_class": Value("string"),
            "action_units": List(
                {"number": Value("int64"), "side": Value("string"), "intensity": Value("string")}
            ),
            "frames": List(Image()),
            "onset": Value("int64"),
            "apex": Value("int64"),
            "offset": Value("int64"),
            "apex_source": Value("string"),
            "landmarks_xy": Array3D(shape=(None, 478, 2), dtype="float32"),
            "timestamps_s": List(Value("float64")),
            "repairs": List(Value("string")),
            "fingerprint": Value("string"),
        }
    )


def _file_of(annotation: Annotation) -> str:
    """A clip's file name: readable, and unique where the readable part is not."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in annotation.key)
    return f"{plain[:80]}-{hashlib.sha256(annotation.key.encode()).hexdigest()[:8]}.parquet"


def fingerprint(annotation: Annotation, geometry: FaceGeometry) -> str:
    """What a prepared clip depends on: annotation, its files' sizes and times, and the geometry."""
    source = annotation.folder
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    told = {**asdict(annotation), "folder": ""}
    text = json.dumps([told, stats, asdict(geometry), __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _chosen(annotation: Annotation) -> tuple[list[Path], dict[str, int], list[str]]:
    """The files of a clip's frames, the positions of its phases among them, and what was mended."""
    frames = numbered_frames(annotation.folder)
    if not frames:
        raise ValueError(f"{annotation.folder} holds no numbered picture")
    numbers, notes = np.array(list(frames)), []
    placed = {}
    for name in ("onset", "apex", "offset"):
        wanted = getattr(annotation, name)
        nearest = int(numbers[np.abs(numbers - wanted).argmin()])
        if abs(nearest - wanted) > NEAREST:
            raise ValueError(
                f"{name} is frame {wanted}, and {annotation.folder} holds {numbers[0]} to {numbers[-1]}"
            )
        if nearest != wanted:
            notes.append(f"frame {wanted} ({name}) is missing: took {nearest}")
        placed[name] = nearest
    inside = numbers[(numbers >= placed["onset"]) & (numbers <= placed["offset"])]
    if len(inside) < 2 or not placed["onset"] <= placed["apex"] <= placed["offset"]:
        raise ValueError(f"only {len(inside)} frame(s) lie between onset and offset in {annotation.folder}")
    # Frames that are missing in between are stood in for by the nearest, so that time goes on evenly.
    step = int(np.diff(inside).min())
    even = np.arange(placed["onset"], placed["offset"] + 1, step)
    shown = [int(inside[np.abs(inside - number).argmin()]) for number in even]
    missing = int((np.array(shown) != even).sum())
    if missing:
        notes.append(f"{missing} frame(s) between onset and offset are missing: took the nearest of each")
    positions = {name: int(np.abs(even - number).argmin()) for name, number in placed.items()}
    return [frames[number] for number in shown], positions, notes


def _load(annotation: Annotation) -> tuple[Clip, dict[str, int], list[str]]:
    """A clip's frames from onset to offset, and its phases as positions in them."""
    if annotation.folder.is_dir():
        files, positions, notes = _chosen(annotation)
        return read_pictures(files, annotation.fps), positions, notes
    clip = read_clip(annotation.folder, fps=annotation.fps)
    if annotation.onset is None or annotation.offset is None:
        return clip, {}, []
    if annotation.offset >= len(clip):
        raise ValueError(
            f"offset is frame {annotation.offset}, and {annotation.folder} has {len(clip)} frames"
        )
    part = slice(annotation.onset, annotation.offset + 1)
    positions = {name: getattr(annotation, name) - annotation.onset for name in ("onset", "apex", "offset")}
    return (
        Clip(clip.frames[part], clip.timestamps_s[part], clip.frame_names[part], clip.source),
        positions,
        [],
    )


def prepare_clip(annotation: Annotation, geometry: FaceGeometry) -> dict[str, Any]:
    """One clip as a row of the prepared data set.

    Args:
        annotation ([`Annotation`]): The clip.
        geometry ([`FaceGeometry`]): Where the face lies in its crop.

    Returns:
        `dict`: Column -> value, with frames as PNG bytes.

    Raises:
        ValueError: With the reason, if the clip cannot be prepared.
    """
    mark = fingerprint(annotation, geometry)
    clip, positions, notes = _load(annotation)
    track = track_face(clip, geometry)
    if not positions:
        phases = spot(track, clip.timestamps_s)
        if phases.onset is None:
            raise ValueError("has no phases, and no motion was found in it")
        positions = {name: getattr(phases, name) for name in ("onset", "apex", "offset")}
    notes += track.warnings
    known = annotation.onset is not None and annotation.offset is not None
    return {
        "key": annotation.key,
        "database": annotation.database,
        "subject": f"{annotation.database}/{annotation.subject}",
        "video": annotation.video,
        "interval": [annotation.onset, annotation.offset] if known else [-1, -1],
        "emotion": annotation.emotion,
        "objective_class": annotation.objective_class,
        "action_units": [asdict(unit) for unit in annotation.action_units],
        "frames": [{"bytes": _png(frame), "path": None} for frame in track.frames],
        **positions,
        "apex_source": annotation.apex_source,
        "landmarks_xy": track.landmarks_xy.astype(np.float32),
        "timestamps_s": clip.timestamps_s.tolist(),
        "repairs": list(notes),
        "fingerprint": mark,
    }


def _png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(frame[..., ::-1]))[1].tobytes()


def _write(row: dict[str, Any], path: Path) -> None:
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    Dataset.from_list([row], features=features()).to_parquet(unfinished)
    unfinished.replace(path)


def _kept(path: Path, mark: str) -> list[str] | None:
    """Repairs of a clip that an earlier run has prepared from the same files; None if it has to be done."""
    if not path.is_file():
        return None
    import pyarrow.parquet as parquet

    table = parquet.read_table(path, columns=["fingerprint", "repairs"])
    return table["repairs"][0].as_py() if table["fingerprint"][0].as_py() == mark else None


def _work(annotation: Annotation, geometry: FaceGeometry, path: Path) -> tuple[str, list[str], str]:
    """Prepare one clip in a process of its own: key, repairs, and why it failed or `""`."""
    cv2.setNumThreads(1)
    try:
        kept = _kept(path, fingerprint(annotation, geometry))
        if kept is not None:
            return annotation.key, kept, ""
        row = prepare_clip(annotation, geometry)
        _write(row, path)
    except Exception as error:  # one clip, whatever it does to a library, is not the end of the others
        reason = " ".join(str(error).split()) or type(error).__name__
        known = isinstance(error, (ValueError, OSError))
        return annotation.key, [], reason if known else f"{type(error).__name__}: {reason}"
    return annotation.key, row["repairs"], ""


def _results(
    annotations: list[Annotation], geometry: FaceGeometry, folder: Path, workers: int
) -> Iterator[tuple[str, list[str], str]]:
    tasks = [(each, geometry, folder / _file_of(each)) for each in annotations]
    if workers <= 1:
        yield from (_work(*task) for task in tasks)
        return
    left = dict(enumerate(tasks))
    # Forked processes would share the face detector's threads with this one.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(_work, *task): number for number, task in left.items()}
        try:
            for future in as_completed(futures):
                yield future.result()
                del left[futures[future]]
        except BrokenProcessPool:
            pass  # a process died, and took what the others were at with it: these go on one by one
        finally:
            pool.shutdown(cancel_futures=True)
    for task in left.values():
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            try:
                yield alone.submit(_work, *task).result()
            except BrokenProcessPool:
                yield task[0].key, [], "the process that prepared it died (out of memory?)"


def prepare(
    findings: Findings,
    out: Path,
    geometry: FaceGeometry = GEOMETRY,
    workers: int | None = None,
    progress: Progress | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Prepare the clips of a data set.

    Args:
        findings ([`Findings`]): From a reader.
        out (`Path`): Folder to write; one that an earlier run has begun is gone on with.
        geometry ([`FaceGeometry`], *optional*): Where the face lies in the stored crop.
        workers (`int`, *optional*): Processes; by default one per core.
        progress (`Callable[[int, int], None]`, *optional*): Called with clips done and clips in all.
        about (`dict`, *optional*): What the report says of the data set: `name`, `title`, `published`.

    Returns:
        `dict`: The report, as in report.json.

    Raises:
        ValueError: In one line, if `out` holds something else, or no clip could be prepared.
    """
    about = {"name": "table", "title": "", "published": {}, **(about or {})}
    _claim(out, about["name"])
    folder = out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(".*"):  # what a killed run left half-written
        path.unlink(missing_ok=True)
    skipped, repaired = list(findings.skipped), list(findings.repaired)
    done: set[str] = set()
    total = len(findings.annotations)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for count, (key, notes, reason) in enumerate(
        _results(findings.annotations, geometry, folder, workers or cores), start=1
    ):
        if reason:
            skipped.append((key, reason))
        else:
            done.add(key)
            repaired += [(key, note) for note in notes]
        if progress:
            progress(count, total)
    if not done:
        raise ValueError(
            f"none of {total} clips could be prepared; the first: {skipped[-1][0]} {skipped[-1][1]}"
        )
    prepared = [each for each in findings.annotations if each.key in done]
    _join(out, [folder / _file_of(each) for each in prepared])
    report = _report(prepared, findings, about, geometry, sorted(repaired), sorted(skipped))
    unfinished = out / ".report.json"
    unfinished.write_text(json.dumps(report, indent=1) + "\n")
    unfinished.replace(out / "report.json")
    return report


def _claim(out: Path, name: str) -> None:
    """Make the folder, or check that it is one of ours for the same data set."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file. Name a folder.")
    record = out / "prepared.json"
    if out.exists() and any(out.iterdir()):
        if not record.is_file():
            raise ValueError(f"--out {out} is not empty and holds nothing prepared. Name another folder.")
        found = json.loads(record.read_text())["name"]
        if found != name:
            raise ValueError(f"--out {out} holds {found}, not {name}. Name another folder.")
        return
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / ".prepared.json"
    unfinished.write_text(json.dumps({"name": name}) + "\n")
    unfinished.replace(record)


def _join(out: Path, files: list[Path]) -> None:
    """All clips as one Arrow data set, in the order of the annotation; the old one is replaced at the end."""
    import pyarrow.parquet as parquet
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()

    def rows() -> Iterator[dict[str, Any]]:
        for path in files:
            yield parquet.read_table(path).to_pylist()[0]

    unfinished, final, cache = out / ".data", out / "data", out / ".cache"
    for path in (unfinished, cache):
        if path.exists():
            shutil.rmtree(path)
    Dataset.from_generator(rows, features=features(), cache_dir=str(cache)).save_to_disk(unfinished)
    if final.exists():
        shutil.rmtree(final)
    unfinished.rename(final)
    shutil.rmtree(cache)


def _report(prepared, findings, about, geometry, repaired, skipped) -> dict[str, Any]:
    return {
        **about,
        "sheet": findings.sheet,
        "found": len(findings.annotations) + len(findings.skipped),
        "clips": len(prepared),
        "subjects": len({(each.database, each.subject) for each in prepared}),
        "emotions": dict(Counter(each.emotion for each in prepared).most_common()),
        "by_subject": dict(sorted(Counter(f"{each.database}/{each.subject}" for each in prepared).items())),
        "apex_sources": dict(Counter(each.apex_source for each in prepared)),
        "geometry": asdict(geometry),
        "repaired": [list(each) for each in repaired],
        "skipped": [list(each) for each in skipped],
        "notes": findings.notes,
    }


def format_report(report: dict[str, Any], most: int = 20) -> str:
    """A report for people.

    Args:
        report (`dict`): From [`prepare`].
        most (`int`, *optional*, defaults to 20): Repairs and reasons that are shown; all are in report.json.

    Returns:
        `str`: Lines.
    """
    counts = sorted(report["by_subject"].values())
    lines = [
        f"{report['title'] or report['name']}: {report['clips']} clips of {report['subjects']} subjects "
        f"({counts[0]} to {counts[-1]} each), of {report['found']} annotated"
    ]
    if report["published"]:
        counts = ", ".join(f"{name} {count}" for name, count in report["published"].items())
        lines.append(f"published: {counts}; read from {report['sheet']}")
    lines.append("emotions: " + ", ".join(f"{name} {count}" for name, count in report["emotions"].items()))
    lines.append("apex: " + ", ".join(f"{name} {count}" for name, count in report["apex_sources"].items()))
    for title, rows in (("repaired", report["repaired"]), ("left out", report["skipped"])):
        lines.append(f"{title}: {len(rows)}")
        lines += [f"  {key}: {text}" for key, text in rows[:most]]
        if len(rows) > most:
            lines.append(f"  ... and {len(rows) - most} more in report.json")
    return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])
