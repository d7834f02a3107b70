"""Publishes generated samples as a data set: checked, written as Parquet, uploaded in one commit."""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import DatasetCard, DatasetCardData, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from mer_hf.synthetic import CLASSES
from mer_hf.synthetic.faces import FaceSettings

from .cards import texts_folder
from .generated import DRAWN_AGAIN, Generated, files_of, read_generated
from .metadata import SIZES, ask_hub, check_dataset_card
from .push import Plan
from .upload import check_name, one_line_errors, upload

LICENCE = "apache-2.0"
WHAT = {
    "people": "Flow maps of micro-expressions, labelled, of people who do not exist.",
    "maps": "Flow maps of micro-expressions, labelled.",
    "faces": "Aligned faces in motion, labelled, as the image processor of a network hands them on.",
}
COLUMNS = {
    "flow": "motion from onset to apex: x, y and strain, each stretched to 0 to 255; uint8 {shape}",
    "pixel_values": "frames as the network takes them, float16 {shape}",
    "label": "the class: " + ", ".join(CLASSES),
    "subject": "who shows it: a name of nobody; the same person keeps face crop, camera and noise",
    "estimated_action_units": "intensities that were estimated from the drawn frames",
    "action_units": "what was drawn: name, strength on the person's left and right",
    "seed": "of the stream",
    "index": "of the sample in its stream",
}
PHOTOGRAPHS = (
    "{share:.0%} of the faces begin as a photograph that scikit-image carries ({names}), bent into other "
    "proportions and tints and moved by the generator; nobody on them performed these expressions. The "
    "others are people who do not exist."
)
NO_PHOTOGRAPH = "No photograph was used: every face is a drawn person who does not exist."


def push_synthetic(
    path: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    progress: bool = True,
    done: Callable[[int, int], None] | None = None,
) -> Plan | str:
    """Publish generated samples as a data set that `datasets.load_dataset` reads.

    Args:
        path (`Path`): A file of `mer-hf synth-flows`, or a folder that `train.py --cache-dir` has filled.
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Of a repository that is made.
        revision (`str`, *optional*): A tag that the commit gets.
        dry_run (`bool`, *optional*, defaults to `False`): Only say what would be uploaded.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        progress (`bool`, *optional*, defaults to `True`): Whether to show bars of the upload.
        done (`Callable[[int, int], None]`, *optional*): Called with files checked and files in all.

    Returns:
        [`Plan`] or `str`: With `dry_run` the plan, else the address of the commit.

    Raises:
        ValueError: In one line, if anything is not provably generated, the name is none, there is no token or
            no permission, or the connection is lost; the repository is then as it was.
        ImportError: If `datasets` is missing.
    """
    check_name(repo_id)
    api, files = HfApi(endpoint=endpoint, token=token), files_of(Path(path))
    with tempfile.TemporaryDirectory() as scratch:
        folder, parts = Path(scratch), []
        for number, file in enumerate(files):
            generated = read_generated(file)
            same = [part for part in parts if part["split"] == generated.split]
            target = folder / f"data/{generated.split}-{len(same):05d}.parquet"
            write_parquet(generated, target)
            parts.append(_summary(generated, target))
            if done:
                done(number + 1, len(files))
        card = dataset_card(parts, repo_id)
        checked = check_dataset_card(card)
        (folder / "README.md").write_text(card)
        found = sorted(each for each in folder.rglob("*") if each.is_file())
        named = {str(each.relative_to(folder)): each for each in found}
        if dry_run:
            return Plan(repo_id, tuple((name, each.stat().st_size) for name, each in named.items()), card)
        (enable_progress_bars if progress else disable_progress_bars)()
        with one_line_errors(api, repo_id):
            ask_hub(checked, api)
            stale = _stale(api, repo_id, named)
        options = {"private": private, "revision": revision, "remove": stale}
        message = "Upload a data set that mer_hf generated"
        return upload(api, repo_id, named, message=message, repo_type="dataset", **options)


def _stale(api: HfApi, repo_id: str, named: dict[str, Path]) -> list[str]:
    """Parquet files of an earlier push: left there, they would be read as part of this one."""
    try:
        there = api.list_repo_files(repo_id, repo_type="dataset")
    except RepositoryNotFoundError:
        return []
    return [name for name in there if name.startswith("data/") and name not in named]


def write_parquet(generated: Generated, path: Path) -> None:
    """Write a file's samples as Parquet, with their types.

    Args:
        generated ([`Generated`]): The samples.
        path (`Path`): Ends in `.parquet`; its folder is made.

    Raises:
        ImportError: If `datasets` is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError("publishing data needs datasets. Run pip install 'mer_hf[train]'.") from error
    columns, features = _columns(generated), {}
    for name, values in columns.items():
        features[name] = _feature(datasets, name, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    table.to_parquet(str(path))
    if shown:
        datasets.enable_progress_bars()


def _columns(generated: Generated) -> dict[str, Any]:
    """The columns of a table, a row for each sample."""
    arrays, samples = generated.arrays, generated.samples
    columns: dict[str, Any] = {name: arrays[name] for name in ("flow", "pixel_values") if name in arrays}
    columns["label"] = arrays["label"]
    if "subject" in arrays:
        columns["subject"] = arrays["subject"]
    if "action_units" in arrays:
        columns["estimated_action_units"] = arrays["action_units"]
    columns["action_units"] = [
        [
            {"name": n, "left": left, "right": right}
            for n, (left, right) in sample.expression.activations.items()
        ]
        for sample in samples
    ]
    columns["seed"] = np.array([sample.seed for sample in samples])
    columns["index"] = np.array([sample.index for sample in samples])
    return columns


def _feature(datasets: Any, name: str, values: Any) -> Any:
    if name == "label":
        return datasets.ClassLabel(names=list(CLASSES))
    if name == "action_units":
        sides = {side: datasets.Value("float64") for side in ("left", "right")}
        return datasets.List({"name": datasets.Value("string"), **sides})
    if values.dtype.kind == "U":
        return datasets.Value("string")
    kinds = {1: datasets.Value, 2: datasets.List, 4: datasets.Array3D, 5: datasets.Array4D}
    if values.ndim == 1:
        return datasets.Value(str(values.dtype))
    if values.ndim == 2:
        return datasets.List(datasets.Value(str(values.dtype)), length=values.shape[1])
    return kinds[values.ndim](shape=values.shape[1:], dtype=str(values.dtype))


def _summary(generated: Generated, path: Path) -> dict[str, Any]:
    """What the card says of a file, counted from it."""
    units = Counter()
    for sample in generated.samples:
        units.update((sample.expression.label, name) for name in sample.expression.activations)
    arrays = generated.arrays
    shapes = {name: tuple(arrays[name].shape[1:]) for name in ("flow", "pixel_values") if name in arrays}
    return {
        "record": generated.record,
        "split": generated.split,
        "file": path.name,
        "bytes": path.stat().st_size,
        "shapes": shapes,
        "columns": list(_columns(generated)),
        "classes": np.bincount(arrays["label"], minlength=len(CLASSES)),
        "subjects": len(np.unique(arrays["subject"])) if "subject" in arrays else 0,
        "units": units,
    }


def dataset_card(parts: list[dict[str, Any]], repo_id: str) -> str:
    """The card of a data set.

    Args:
        parts (`list[dict]`): What is said of each file.
        repo_id (`str`): Where it is going to be.

    Returns:
        `str`: README.md.

    Raises:
        ValueError: If the files hold different kinds of samples.
    """
    kinds = {(part["record"]["kind"], *part["shapes"].values()) for part in parts}
    if len(kinds) > 1:
        named = ", ".join(sorted({f"{kind} {shape}" for kind, shape in kinds}))
        raise ValueError(f"these files hold different kinds of samples: {named}. Publish each by itself.")
    ((kind, shape),) = kinds
    splits = sorted({part["split"] for part in parts})
    total = sum(int(part["classes"].sum()) for part in parts)
    data = DatasetCardData(
        license=LICENCE,
        pretty_name=repo_id.split("/")[1],
        task_categories=["video-classification" if kind == "faces" else "image-classification"],
        size_categories=[SIZES[min(max(len(str(total)) - 3, 0), len(SIZES) - 1)]],
        annotations_creators=["machine-generated"],
        tags=["synthetic", "micro-expression-recognition", "facial-expression"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name in splits],
            }
        ],
    )
    columns = [f"- `{name}`: {COLUMNS[name].format(shape=shape)}" for name in parts[0]["columns"]]
    card = DatasetCard.from_template(
        data,
        template_path=str(texts_folder() / "dataset.md"),
        title=repo_id.split("/")[1],
        repo_id=repo_id,
        what=WHAT[kind],
        first_split=splits[0],
        column=next(iter(parts[0]["shapes"])),
        columns="\n".join(columns),
        statistics=_statistics(parts),
        action_units=_action_units(parts),
        made=_made(parts),
        checked=f"up to {DRAWN_AGAIN} samples of each file were drawn again",
        photographs=_photographs() if kind == "faces" else "",
        licence="Apache 2.0, as the generator. It holds no recording, so no agreement on one applies.",
    )
    return str(card)


def _photographs() -> str:
    """Whose faces they are: the code that drew them is the one that runs, so its own settings say it."""
    settings = FaceSettings()
    names = ", ".join(settings.photographs)
    return (
        PHOTOGRAPHS.format(share=settings.photograph, names=names) if settings.photograph else NO_PHOTOGRAPH
    )


def _statistics(parts: list[dict[str, Any]]) -> str:
    """Samples and people of each file."""
    lines = [
        f"| file | split | samples | people | {' | '.join(CLASSES)} |",
        "|---" * (4 + len(CLASSES)) + "|",
    ]
    for part in parts:
        counts = " | ".join(map(str, part["classes"]))
        people = part["subjects"] or "-"
        samples = part["classes"].sum()
        lines.append(f"| {part['file']} | {part['split']} | {samples} | {people} | {counts} |")
    return "\n".join(lines)


def _action_units(parts: list[dict[str, Any]]) -> str:
    """Share of samples in which each action unit was drawn, by class."""
    units, classes = sum((part["units"] for part in parts), Counter()), sum(part["classes"] for part in parts)
    names = sorted({name for _, name in units}, key=lambda name: int(name.removeprefix("AU")))
    lines = [f"| | {' | '.join(CLASSES)} |", "|---" * (1 + len(CLASSES)) + "|"]
    for name in names:
        shares = " | ".join(
            f"{units[label, name] / max(count, 1):.2f}" for label, count in enumerate(classes)
        )
        lines.append(f"| {name} | {shares} |")
    return "\n".join(lines)


def _made(parts: list[dict[str, Any]]) -> str:
    """Commit, code, seeds and settings of each file."""
    lines = []
    for part in parts:
        record = part["record"]
        hidden = ("generator", "kind", "commit", "fingerprint", "content_sha256")
        settings = ", ".join(f"{name} {value}" for name, value in record.items() if name not in hidden)
        commit = f"commit `{record['commit']}`" if record["commit"] else "commit not recorded"
        lines.append(
            f"- `{part['file']}`: {record['kind']} of mer_hf.synthetic, {commit}, code "
            f"{record['fingerprint']}; {settings}"
        )
    first = parts[0]["record"]
    if first["kind"] == "people":
        command = f"mer-hf synth-flows --subjects {first['subjects']} --seed {first['seed']} --out FILE.npz"
        lines.append(f"\n```bash\n{command}\n```")
    return "\n".join(lines)
