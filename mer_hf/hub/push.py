"""Publishes a checkpoint, or a run with its folds: read, assembled, checked by a clean process, uploaded."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from .cards import model_card
from .folder import assemble, check, read_source
from .metadata import ask_hub, check_model_card
from .picture import NAME, render_picture
from .runs import FOLDS, add_folds, is_run, make_root, read_run
from .scores import eval_entries, read_json
from .upload import check_name, one_line_errors, upload


@dataclass(frozen=True)
class Plan:
    """What a push would upload.

    Attributes:
        repo_id (`str`): Of the repository.
        files (`tuple[tuple[str, int], ...]`): Name and size in bytes.
        card (`str`): README.md.
    """

    repo_id: str
    files: tuple[tuple[str, int], ...]
    card: str

    def __str__(self) -> str:
        total = sum(size for _, size in self.files)
        lines = [f"{size:12,}  {name}" for name, size in self.files]
        return "\n".join([f"to {self.repo_id}:", *lines, f"{total:12,}  in all", "", self.card.rstrip()])


def push(
    source: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    benchmark: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    progress: bool = True,
) -> Plan | str:
    """Publish a checkpoint, or a run with a protocol with all its folds.

    It is assembled, loaded in a clean process and compared with its source before anything is sent.

    Args:
        source (`Path`): A checkpoint's folder, or that of a run with a protocol.
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Of a repository that is made.
        revision (`str`, *optional*): A tag that the commit gets.
        benchmark (`str`, *optional*): The data set of the Hub, `owner/name`, that the run's report was
            measured on; its scores then also go to `.eval_results/`.
        dry_run (`bool`, *optional*, defaults to `False`): Only say what would be uploaded.
        endpoint (`str`, *optional*): Of the Hub; huggingface_hub's by default.
        token (`str`, *optional*): huggingface_hub's by default.
        progress (`bool`, *optional*, defaults to `True`): Whether to show bars.

    Returns:
        [`Plan`] or `str`: With `dry_run` the plan, else the address of the commit.

    Raises:
        ValueError: In one line, if the source must not be published, the name is none, there is no token or
            no permission, or the connection is lost; the repository is then as it was.
    """
    check_name(repo_id)
    source, api = Path(source), HfApi(endpoint=endpoint, token=token)
    run = read_run(source) if is_run(source) else None
    with tempfile.TemporaryDirectory() as scratch:
        folder, rendered = Path(scratch) / "repository", Path(scratch) / "rendered"
        folder.mkdir()
        rendered.mkdir()
        found = make_root(run, Path(scratch) / "root") if run else read_source(source)
        texts = _eval_results(found.path, benchmark) if benchmark else {}
        says = render_picture(found.path, rendered)
        shown = {"picture": NAME, "picture_says": says} if says else {}
        shown |= {"folds": run.said()} if run else {}
        card = model_card(found, repo_id, **shown, datasets=(benchmark,) if benchmark else ())
        checked = check_model_card(card)
        files = assemble(found, card, folder, rendered=rendered, texts=texts)
        files += add_folds(run, folder) if run else []
        check(folder, found, {f"{FOLDS}/{run.other()}": run.trainings[run.other()]} if run else None)
        named = {each.relative_to(folder).as_posix(): each for each in files}
        if dry_run:
            return Plan(repo_id, tuple((name, each.stat().st_size) for name, each in named.items()), card)
        (enable_progress_bars if progress else disable_progress_bars)()
        with one_line_errors(api, repo_id):
            ask_hub(checked, api)
            old = [name for name in _weights_there(api, repo_id) if name not in named]
        what = f"a run of mer_hf with {len(run.trainings)} networks" if run else "a checkpoint of mer_hf"
        options = {"private": private, "revision": revision, "remove": old}
        return upload(api, repo_id, named, message=f"Upload {what}", **options)


def _weights_there(api: HfApi, repo_id: str) -> list[str]:
    """Weights and folds that a repository holds: those of another push would be loaded in place of these."""
    try:
        names = api.list_repo_files(repo_id)
    except RepositoryNotFoundError:
        return []
    endings = (".safetensors", ".safetensors.index.json")
    return [name for name in names if name.startswith(f"{FOLDS}/") or name.endswith(endings)]


def _eval_results(path: Path, benchmark: str) -> dict[str, str]:
    """The file of a benchmark's results, by its path in the repository."""
    check_name(benchmark)
    report, record = read_json(path / "report.json"), read_json(path / "train_config.json")
    name = benchmark.split("/")[1].lower()
    return {f".eval_results/{name}.yaml": eval_entries(report, benchmark, record.get("commit"))}
