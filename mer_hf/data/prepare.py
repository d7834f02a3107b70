"""Prepare a dataset for training: a folder of aligned faces, made in parallel and resumable.

    OUT/clips/<clip>.parquet   one file per clip, while the work goes on
    OUT/data/                  all clips as an Arrow dataset, at the end
    OUT/report.json            what was found, fixed and excluded, and why

A second run prepares what is missing, and every clip whose pictures, annotation or options have changed.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mer_hf import __version__
from mer_hf.face.spotting import spot
from mer_hf.face.tracking import FaceGeometry, track_face
from mer_hf.utils.files import FULL, replacing, write_text
from mer_hf.utils.rendering import render
from mer_hf.utils.untrusted import read_json
from mer_hf.video.clip import Clip, numbered_frames, read_clip, read_pictures

from .annotations import PHASES, Annotation, Findings
from .splits import file_name

GEOMETRY = FaceGeometry(size=320, eye_row=0.4, interocular_fraction=0.32)
"""Wide enough for the crop of every network, which is cut from it on reading; at the scale of the default."""

NEAREST = 3
"""A missing frame is replaced by one whose number differs by at most this."""

TEMPLATE, SHOWN = Path(__file__).with_name("report.txt.j2"), 20
COPIED = ("video", "emotion", "objective_class", "apex_source")

Progress = Callable[[int, int], None]


def features():
    """Return the columns of a prepared dataset, as `datasets.Features`."""
    from datasets import Array3D, Features, Image, List, Value

    text, number = Value("string"), Value("int64")
    return Features(
        {
            **dict.fromkeys(("key", "database", "subject", "video"), text),
            "interval": List(number),
            **dict.fromkeys(("emotion", "objective_class"), text),
            "action_units": List({"number": number, "side": text, "intensity": text}),
            "frames": List(Image()),
            **dict.fromkeys(PHASES, number),
            "apex_source": text,
            "landmarks_xy": Array3D(shape=(None, 478, 2), dtype="float32"),
            "timestamps_s": List(Value("float64")),
            "repairs": List(text),
            "fingerprint": text,
        }
    )


def _file_of(annotation: Annotation) -> str:
    """Return a clip's file name: a readable part, and a hash that makes it unique."""
    mark = hashlib.sha256(annotation.key.encode()).hexdigest()[:8]
    return f"{file_name(annotation.key)[:80]}-{mark}.parquet"


def fingerprint(annotation: Annotation) -> str:
    """Hash what a prepared clip depends on: annotation, sizes and times of its files, and geometry."""
    source = annotation.folder
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    fields = {**asdict(annotation), "folder": ""}
    text = json.dumps([fields, stats, asdict(GEOMETRY), __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _choose_frames(annotation: Annotation) -> tuple[list[Path], dict[str, int], list[str]]:
    """Return the files of a clip's frames, the positions of its phases among them, and what was fixed."""
    frames = numbered_frames(annotation.folder)
    if not frames:
        raise ValueError(f"{annotation.folder} holds no numbered picture")
    numbers, fixes, phases = np.array(list(frames)), [], {}
    for name in PHASES:
        wanted = getattr(annotation, name)
        nearest = int(numbers[np.abs(numbers - wanted).argmin()])
        if abs(nearest - wanted) > NEAREST:
            raise ValueError(
                f"{name} is frame {wanted}, and {annotation.folder} holds {numbers[0]} to {numbers[-1]}"
            )
        if nearest != wanted:
            fixes.append(f"frame {wanted} ({name}) is missing: took {nearest}")
        phases[name] = nearest
    inside = numbers[(numbers >= phases["onset"]) & (numbers <= phases["offset"])]
    if len(inside) < 2 or not phases["onset"] <= phases["apex"] <= phases["offset"]:
        raise ValueError(f"only {len(inside)} frame(s) lie between onset and offset in {annotation.folder}")
    # The nearest frame stands in for a missing one, so that frames stay evenly spaced in time.
    even = np.arange(phases["onset"], phases["offset"] + 1, int(np.diff(inside).min()))
    shown = [int(inside[np.abs(inside - number).argmin()]) for number in even]
    missing = int((np.array(shown) != even).sum())
    if missing:
        fixes.append(f"{missing} frame(s) between onset and offset are missing: took the nearest of each")
    positions = {name: int(np.abs(even - number).argmin()) for name, number in phases.items()}
    return [frames[number] for number in shown], positions, fixes


def load_annotated(annotation: Annotation) -> tuple[Clip, dict[str, int], list[str]]:
    """Read a clip's frames from onset to offset, the positions of its phases in them, and what was fixed."""
    if annotation.folder.is_dir():
        files, positions, fixes = _choose_frames(annotation)
        return read_pictures(files, annotation.fps), positions, fixes
    clip = read_clip(annotation.folder, fps=annotation.fps)
    onset, offset = annotation.onset, annotation.offset
    if annotation.apex_source == "spotted":
        return clip, {}, []
    if offset >= len(clip):
        raise ValueError(f"offset is frame {offset}, and {annotation.folder} has {len(clip)} frames")
    part = slice(onset, offset + 1)
    shown = {name: getattr(clip, name)[part] for name in ("frames", "timestamps_s", "frame_names")}
    return replace(clip, **shown), {name: getattr(annotation, name) - onset for name in PHASES}, []


def prepare_clip(annotation: Annotation) -> dict[str, Any]:
    """Return one clip as a row of the prepared dataset, with its frames as PNG bytes."""
    clip, positions, fixes = load_annotated(annotation)
    track = track_face(clip, GEOMETRY)
    if not positions:
        known = {name: getattr(annotation, name) for name in PHASES}
        phases = spot(track, clip.timestamps_s, **known)
        if phases.onset is None:
            raise ValueError("has no phases, and no motion was found in it")
        positions = {name: getattr(phases, name) for name in PHASES}
        fixes = [*phases.warnings]
    interval = [annotation.onset, annotation.offset]
    return {
        "key": annotation.key,
        "database": annotation.dataset,
        "subject": annotation.subject_key,
        "interval": [-1, -1] if None in interval else interval,
        **{name: getattr(annotation, name) for name in COPIED},
        "action_units": [asdict(unit) for unit in annotation.action_units],
        "frames": [{"bytes": cv2.imencode(".png", frame[..., ::-1])[1].tobytes()} for frame in track.frames],
        **positions,
        "landmarks_xy": track.landmarks_xy.astype(np.float32),
        "timestamps_s": clip.timestamps_s.tolist(),
        "repairs": [*fixes, *track.warnings],
    }


def _finished_fixes(path: Path, mark: str) -> list[str] | None:
    """Return the fixes of a clip that an earlier run prepared from the same files; None if there is none."""
    if not path.is_file():
        return None
    import pyarrow.parquet as parquet

    table = parquet.read_table(path, columns=["fingerprint", "repairs"])
    return table["repairs"][0].as_py() if table["fingerprint"][0].as_py() == mark else None


Result = tuple[Annotation, list[str], str]
"""A clip, what was fixed, and why it could not be prepared or `""`."""


def _work(annotation: Annotation, path: Path) -> Result:
    """Prepare one clip, unless that is done, and write its file."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    cv2.setNumThreads(1)
    try:
        mark = fingerprint(annotation)
        fixes = _finished_fixes(path, mark)
        if fixes is None:
            row = prepare_clip(annotation) | {"fingerprint": mark}
            fixes = row["repairs"]
            with replacing(path) as temporary:
                Dataset.from_list([row], features=features()).to_parquet(temporary)
    except Exception as error:  # one clip, whatever it does to a library, must not stop the others
        if getattr(error, "errno", None) in FULL:  # and the others cannot be written either
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        expected = isinstance(error, (ValueError, OSError))
        return annotation, [], reason if expected else f"{type(error).__name__}: {reason}"
    return annotation, fixes, ""


def _results(annotations: list[Annotation], folder: Path, workers: int) -> Iterator[Result]:
    """Prepare all clips in several processes; a clip that kills its process is excluded."""
    tasks = {number: (each, folder / _file_of(each)) for number, each in enumerate(annotations)}
    if workers <= 1:
        yield from (_work(*task) for task in tasks.values())
        return
    context = get_context("spawn")  # forked processes would share the face detector's threads with this one
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(_work, *task): number for number, task in tasks.items()}
        try:
            for future in as_completed(futures):
                yield future.result()
                del tasks[futures[future]]
        except BrokenProcessPool:
            pass  # a process died, and the pool with it: the remaining clips are prepared one by one
        finally:
            pool.shutdown(cancel_futures=True)
    for task in tasks.values():
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            try:
                yield alone.submit(_work, *task).result()
            except BrokenProcessPool:
                yield task[0], [], "the process that prepared it died (out of memory?)"


def prepare(
    findings: Findings, out: Path, workers: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Prepare the clips of a dataset.

    Args:
        findings ([`Findings`]): From a reader.
        out (`Path`): Output folder. An interrupted run in it is resumed.
        workers (`int`, *optional*): Processes; by default one per core.
        progress (`Callable[[int, int], None]`, *optional*): Called with the clips done and their total.

    Returns:
        `dict`: The report, as in report.json.

    Raises:
        ValueError: If `out` holds something else, or no clip could be prepared.
    """
    _start(out, findings.name)
    folder = out / "clips"
    excluded, fixed, done = list(findings.excluded), list(findings.fixed), set()
    total = len(findings.annotations)
    results = _results(findings.annotations, folder, workers or os.cpu_count() or 1)
    for count, (annotation, fixes, reason) in enumerate(results, start=1):
        if reason:
            excluded.append((annotation.key, reason))
        else:
            done.add(annotation.key)
            fixed += [(annotation.key, fix) for fix in fixes]
        if progress:
            progress(count, total)
    if not done:
        raise ValueError(
            f"none of {total} clips could be prepared; the first: {excluded[-1][0]} {excluded[-1][1]}"
        )
    prepared = [each for each in findings.annotations if each.key in done]
    _join(out, [folder / _file_of(each) for each in prepared])
    report = _report(prepared, findings, sorted(fixed), sorted(excluded))
    write_text(out / "report.json", json.dumps(report, indent=1) + "\n")
    return report


def _start(out: Path, name: str) -> None:
    """Make the output folder, or check that it holds the same dataset; remove unfinished files."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file. Name a folder.")
    record = out / "prepared.json"
    if out.exists() and any(out.iterdir()):
        if not record.is_file():
            raise ValueError(f"--out {out} is not empty and holds nothing prepared. Name another folder.")
        stored = read_json(record, {"name": str})["name"]
        if stored != name:
            raise ValueError(f"--out {out} holds {stored}, not {name}. Name another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps({"name": name}) + "\n")
    (out / "clips").mkdir(exist_ok=True)
    for unfinished in [*out.glob(".mer-hf-*"), *(out / "clips").glob(".mer-hf-*")]:
        shutil.rmtree(unfinished)


def _join(out: Path, files: list[Path]) -> None:
    """Write all clips as one Arrow dataset, in the order of the annotation."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    with replacing(out / "data") as temporary:
        cache = str(temporary.with_name("cache"))
        clips = Dataset.from_parquet([str(path) for path in files], features=features(), cache_dir=cache)
        clips.save_to_disk(temporary)
        shutil.rmtree(out / "data", ignore_errors=True)


def _report(
    prepared: list[Annotation], findings: Findings, fixed: list[tuple], excluded: list[tuple]
) -> dict[str, Any]:
    """Return the content of report.json."""
    by_subject = Counter(each.subject_key for each in prepared)
    return {
        **{name: getattr(findings, name) for name in ("name", "title", "published", "sheet")},
        "found": len(findings.annotations) + len(findings.excluded),
        "clips": len(prepared),
        "subjects": len(by_subject),
        "emotions": dict(Counter(each.emotion for each in prepared).most_common()),
        "by_subject": dict(sorted(by_subject.items())),
        "apex_sources": dict(Counter(each.apex_source for each in prepared)),
        "geometry": asdict(GEOMETRY),
        "repaired": [list(each) for each in fixed],
        "skipped": [list(each) for each in excluded],
        "notes": findings.notes,
    }


def format_report(report: dict[str, Any]) -> str:
    """Return a report of [`prepare`] as text, with at most `SHOWN` fixes and as many excluded clips."""
    return render(TEMPLATE, report | {"most": SHOWN}).rstrip()
