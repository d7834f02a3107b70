"""Checkpoints that can be named: those of the package, those in the cache, and an owner's on the Hub.

What is said of each is read from its own files: config.json, the headers of its safetensors, and report.json
or the model-index of its card.
"""

import json
import math
import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CacheNotFound, EvalResult, HfApi, ModelCard, constants, scan_cache_dir
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import get_session, hf_raise_for_status
from safetensors import SafetensorError, safe_open

from mer_hf import __version__
from mer_hf.loading import CHECKPOINTS
from mer_hf.registry import ARCHITECTURES

TAG = "micro-expression-recognition"
"""Of every card that this package writes."""

EXPAND = ["sha", "tags", "config", "safetensors", "cardData", "model-index"]
PARALLEL = 8


@dataclass(frozen=True)
class Score:
    """What was measured on one data set.

    Attributes:
        dataset (`str`): The data set, with the protocol.
        uf1 (`float`, *optional*): In [0, 1].
        uar (`float`, *optional*): In [0, 1].
    """

    dataset: str
    uf1: float | None
    uar: float | None


@dataclass(frozen=True)
class Found:
    """A checkpoint that can be named.

    Attributes:
        model (`str`): What `--model` takes: a bundled name, or `owner/name@commit`.
        where (`str`): `bundled`, `cached` or `hub`.
        architecture (`str`): Key of the registry.
        parameters (`int`, *optional*): Of the network.
        classes (`tuple[str, ...]`): In index order.
        scores (`tuple[Score, ...]`): Measurements that its files name.
        revision (`str`): The commit; for a bundled one the version of the package.
        refs (`tuple[str, ...]`): Branches and tags known to be at that commit.
    """

    model: str
    where: str
    architecture: str
    parameters: int | None
    classes: tuple[str, ...]
    scores: tuple[Score, ...]
    revision: str
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """All that was found.

    Attributes:
        found (`tuple[Found, ...]`): Bundled, then cached, then the Hub's.
        note (`str`): What the Hub was asked, or why it was not.
    """

    found: tuple[Found, ...]
    note: str

    def __str__(self) -> str:
        rows = [
            ("model", "where", "network", "parameters", "classes", "UF1", "UAR", "measured on", "revision")
        ]
        for each in self.found:
            rows += _rows_of(each)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, "", self.note])

    def to_json(self) -> str:
        """One JSON object: `models` and `hub`."""
        return json.dumps({"models": [asdict(each) for each in self.found], "hub": self.note})


def _rows_of(each: Found) -> list[tuple[str, ...]]:
    """A line of the table per measurement; the first says what the checkpoint is."""
    size = "-" if each.parameters is None else f"{each.parameters:,}"
    revision = each.revision[:12] + (f" ({', '.join(each.refs)})" if each.refs else "")
    name = each.model.partition("@")[0]
    left = (name, each.where, each.architecture, size, ", ".join(each.classes) or "-")
    scores = each.scores or (Score("no measurement named", None, None),)
    lines = [(_number(score.uf1), _number(score.uar), score.dataset) for score in scores]
    first, *others = lines
    return [(*left, *first, revision), *(("",) * 5 + line + ("",) for line in others)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def list_models(owner: str | None = None) -> Listing:
    """Bundled and cached checkpoints of the registry's architectures, and an owner's on the Hub.

    Args:
        owner (`str`, *optional*): A user or an organisation of the Hub; without one it is not asked.

    Returns:
        [`Listing`]: With the bundled and the cached ones whether the Hub answers or not.

    Raises:
        ValueError: If `owner` cannot be one.
    """
    if owner is not None and not re.fullmatch(r"\w[\w.-]*", owner):
        raise ValueError(
            f"{owner!r} is no user or organisation of the Hub: give OWNER alone, without a name."
        )
    there, note = _on_the_hub(owner)
    return Listing((*_bundled(), *_cached(), *there), note)


def _bundled() -> list[Found]:
    folders = sorted(path.parent for path in CHECKPOINTS.glob("*/config.json"))
    revision = f"mer_hf {__version__}"
    return [_from_folder(each, each.name, "bundled", revision) for each in folders]


def _cached() -> list[Found]:
    """Whole checkpoints of ours in the cache; a configuration alone, such as a search leaves, is none."""
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for repo in sorted(repositories, key=lambda repo: repo.repo_id):
        for revision in sorted(repo.revisions, key=lambda revision: -revision.last_modified):
            folder = revision.snapshot_path
            if (
                repo.repo_type == "model"
                and _read_json(folder / "config.json").get("model_type") in ARCHITECTURES
            ):
                name = f"{repo.repo_id}@{revision.commit_hash}"
                each = _from_folder(
                    folder, name, "cached", revision.commit_hash, tuple(sorted(revision.refs))
                )
                found += [each] if each.parameters else []
    return found


def _from_folder(folder: Path, model: str, where: str, revision: str, refs: tuple[str, ...] = ()) -> Found:
    config = _read_json(folder / "config.json")
    report = _read_json(folder / "report.json")
    scores = _of_report(report) if report else _of_results(_results_of_card(folder / "README.md"))
    found = (config["model_type"], _parameters(folder), _classes(config), scores)
    return Found(model, where, *found, revision, refs)


def _read_json(path: Path) -> dict[str, Any]:
    """What a file holds; `{}` for one that is absent or damaged, which is for loading to complain about."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _parameters(folder: Path) -> int | None:
    """How many parameters the weights hold; None if they are not all there."""
    index = _read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    total = 0
    try:
        for name in set(index.values()) or {"model.safetensors"}:
            with safe_open(folder / name, framework="pt") as file:
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return total


def _classes(config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    return tuple(_plain(names[key]) for key in sorted(names, key=lambda key: int(key)))


def _results_of_card(path: Path) -> list[EvalResult]:
    if not path.is_file():
        return []
    return ModelCard(path.read_text(), ignore_metadata_errors=True).data.eval_results or []


def _of_report(report: dict[str, Any]) -> tuple[Score, ...]:
    """A report's numbers; one whose epoch was chosen on the tested clips has no measurement in it."""
    if not {"uf1", "uar", "per_dataset", "protocol", "clips", "subjects"} <= set(report):
        return ()
    said = f"{report['clips']} clips, {report['subjects']} subjects, {report['protocol']}"
    return (Score(_plain(f"{', '.join(report['per_dataset'])} ({said})"), report["uf1"], report["uar"]),)


def _of_results(results: Iterable[EvalResult]) -> tuple[Score, ...]:
    """The numbers of a model-index, one score per data set."""
    found: dict[str, dict[str, float]] = {}
    for each in results:
        for key in ("uf1", "uar"):
            named = each.metric_type == key or (each.metric_name or "").lower().startswith(key)
            if named and isinstance(each.metric_value, int | float):
                found.setdefault(_plain(each.dataset_name), {})[key] = float(each.metric_value)
    return tuple(Score(name, values.get("uf1"), values.get("uar")) for name, values in found.items())


def _plain(text: object) -> str:
    """Words that somebody else wrote, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def _on_the_hub(owner: str | None) -> tuple[list[Found], str]:
    """An owner's checkpoints, and one line on what was asked."""
    if owner is None:
        return [], "The Hub was not asked: mer-hf models OWNER lists the models of a user or organisation."
    if constants.is_offline_mode():
        return [], "The Hub was not asked: HF_HUB_OFFLINE is set."
    api = HfApi()
    try:
        # One request without the retries of those below, so that a missing network is told at once.
        first = get_session().get(
            f"{api.endpoint}/api/models",
            params={"author": owner, "limit": 1},
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
        hf_raise_for_status(first)
        # A card of ours carries the tag; the Hub itself tags every model by its type.
        asked = [api.list_models(author=owner, filter=tag, expand=EXPAND) for tag in (TAG, *ARCHITECTURES)]
        infos = {info.id: info for answer in asked for info in answer}
        ours = [info for _, info in sorted(infos.items()) if _type_of(info) in ARCHITECTURES]
        with ThreadPoolExecutor(PARALLEL) as pool:
            found = list(pool.map(lambda info: _from_info(api, info), ours))
    except (httpx2.HTTPError, OSError) as error:
        status = (
            f"{error.response.status_code}" if isinstance(error, HfHubHTTPError) else type(error).__name__
        )
        return [], f"The models of {owner} are not listed: {api.endpoint} did not answer ({status})."
    return found, f"{api.endpoint} has {len(found)} models of {owner} of these architectures."


def _type_of(info: ModelInfo) -> str | None:
    return (info.config or {}).get("model_type")


def _from_info(api: HfApi, info: ModelInfo) -> Found:
    with tempfile.TemporaryDirectory() as scratch:  # not in the cache: it would look like a checkpoint there
        path = api.hf_hub_download(info.id, "config.json", revision=info.sha, local_dir=scratch)
        classes = _classes(_read_json(Path(path)))
    results = (
        model_index_to_eval_results(info.model_index)[1]
        if info.model_index
        else (info.card_data and info.card_data.eval_results) or []
    )
    size = info.safetensors.total if info.safetensors else None
    name = f"{info.id}@{info.sha}"
    return Found(name, "hub", _type_of(info), size, classes, _of_results(results), info.sha, ("main",))
