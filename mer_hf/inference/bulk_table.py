"""Which clips a folder holds, a clip's row of the table of predictions, and the table."""

import csv
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mer_hf.face.action_units import VOCABULARY
from mer_hf.video.container import PICTURE_SUFFIXES, VIDEO_SUFFIXES

from .pipeline import PHASE_NAMES, MicroExpressionPipeline

REASONS_SHOWN = 3


def find_clips(root: str | os.PathLike) -> Iterator[str]:
    """Clips in a folder and the folders in it: video files, and folders of pictures without a video.

    Args:
        root (`str` or `os.PathLike`): A folder, or one video file. Hidden files and folders are left out.

    Yields:
        `str`: Paths from `root`, with `/`; `"."` for `root` itself. In no particular order.
    """
    root = Path(root)
    if root.is_file():
        yield root.name
    seen, unreadable = set(), []
    for top, folders, files in os.walk(root, followlinks=True, onerror=unreadable.append):
        where = os.path.realpath(top)
        folders[:] = [] if where in seen else [name for name in folders if name[0] != "."]
        if where in seen:  # a link that leads back
            continue
        seen.add(where)
        shown = [name for name in files if name[0] != "."]
        videos = [name for name in shown if name.lower().endswith(VIDEO_SUFFIXES)]
        for name in videos:
            yield (Path(top) / name).relative_to(root).as_posix()
        # Beside videos a picture is a poster, and no frame of a clip.
        if not videos and any(name.lower().endswith(PICTURE_SUFFIXES) for name in shown):
            yield Path(top).relative_to(root).as_posix()
    if root.is_dir():  # a file has been yielded, and is an error to the walk
        for error in unreadable:  # what it holds is not known: let it be a row that says so
            yield Path(error.filename).relative_to(root).as_posix()


def predict_row(pipeline: MicroExpressionPipeline, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """One clip's row of the table; whatever goes wrong with the clip is the row's reason.

    Args:
        pipeline ([`MicroExpressionPipeline`]): What predicts.
        path (`Path`): A video file or a folder of frames.
        options (`dict`): Further arguments of the pipeline.

    Returns:
        `dict`: Column -> value that JSON has, without the columns that are the same for all clips. A clip
            that failed has `status`, `reason`, `seconds` and `process` only.
    """
    begun = time.perf_counter()
    try:
        row = _columns_of(pipeline(path, **options).to_dict())
    except (ValueError, OSError) as error:
        row = failed_row(str(error) or type(error).__name__, path)
    except Exception as error:
        row = failed_row(f"{type(error).__name__}: {error}", path)
    seconds = round(time.perf_counter() - begun, 3)
    return row | {"seconds": seconds, "process": f"{socket.gethostname()}:{os.getpid()}"}


def failed_row(reason: str, path: Path) -> dict[str, Any]:
    """The row of a clip without an answer; the reason loses the clip's own path."""
    return {"status": "failed", "reason": printable(" ".join(reason.split()).removeprefix(f"{path}: "))}


def printable(text: str) -> str:
    """Names of files need not be Unicode; a table's text must be."""
    return text.encode("utf-8", "backslashreplace").decode()


def _columns_of(answer: dict[str, Any]) -> dict[str, Any]:
    phases = answer["phases"]
    return {
        "status": "ok",
        "outcome": answer["outcome"],
        "label": answer["label"],
        **{f"score_{name}": score for name, score in answer["scores"].items()},
        **{key: phases[key] for name in PHASE_NAMES for key in (name, f"{name}_s")},
        "phases_source": phases["source"],
        **{name: found and found[2] for name, found in answer["action_units"].items()},
        "action_units_source": answer["action_units_source"],
        "warnings": " | ".join(answer["warnings"]),
    }


def table_columns(classes: list[str]) -> dict[str, str]:
    """The columns of the table, in order.

    Args:
        classes (`list[str]`): The classes of the network.

    Returns:
        `dict[str, str]`: Name -> Arrow type.
    """
    return {
        **dict.fromkeys(("path", "status", "reason", "outcome", "label"), "string"),
        **{f"score_{name}": "float64" for name in classes},
        **{key: kind for name in PHASE_NAMES for key, kind in ((name, "int64"), (f"{name}_s", "float64"))},
        "phases_source": "string",
        **dict.fromkeys(VOCABULARY, "float64"),
        **dict.fromkeys(("action_units_source", "warnings", "model", "weights_sha256", "mer_hf"), "string"),
        "seconds": "float64",
        "process": "string",
    }


def write_table(out: Path, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Write rows as parquet or CSV, under a temporary name first.

    Args:
        out (`Path`): The file; its ending chooses the format.
        rows (`list[dict]`): Column -> value; a column that a row lacks is empty.
        columns (`dict[str, str]`): Name -> Arrow type.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if out.suffix.lower() == ".csv":
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(columns), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        else:
            import pyarrow
            import pyarrow.parquet

            schema = pyarrow.schema(list(columns.items()))
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def summarize(rows: list[dict[str, Any]], clips_done: int, seconds: float) -> dict[str, Any]:
    """What the rows of a table say in short.

    Args:
        rows (`list[dict]`): Of all clips.
        clips_done (`int`): Clips that were done since this process began.
        seconds (`float`): Seconds since this process began.

    Returns:
        `dict`: `clips`, `failed`, `reasons` (the first few, path -> reason), `outcomes` and `labels` (name ->
            clips) and `clips_per_s`, of this launch.
    """
    failed = {row["path"]: row["reason"] for row in rows if row["status"] == "failed"}
    return {
        "clips": len(rows),
        "failed": len(failed),
        "reasons": dict(list(failed.items())[:REASONS_SHOWN]),
        "outcomes": dict(Counter(row["outcome"] for row in rows if row["status"] == "ok").most_common()),
        "labels": dict(Counter(row["label"] for row in rows if row.get("label")).most_common()),
        "clips_per_s": round(clips_done / seconds, 3),
    }


def format_summary(summary: dict[str, Any]) -> str:
    """A summary as a few lines for a reader.

    Args:
        summary (`dict`): From `summarize`.

    Returns:
        `str`: Without a newline at the end.
    """
    lines = [f"{summary['clips']} clips, {summary['failed']} failed, {summary['clips_per_s']:.2f} clips/s"]
    for name in ("outcomes", "labels"):
        counts = ", ".join(f"{key} {count}" for key, count in summary[name].items())
        lines.append(f"{name:<10}{counts or 'none'}")
    lines += [f"failed    {path}: {reason}" for path, reason in summary["reasons"].items()]
    if summary["failed"] > len(summary["reasons"]):
        lines.append(f"          and {summary['failed'] - len(summary['reasons'])} more: see column reason")
    return "\n".join(lines)
