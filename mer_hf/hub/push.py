"""Publish a checkpoint, or a run with all its folds: assemble, check in a clean process, upload."""

import tempfile
from pathlib import Path

from huggingface_hub import ModelCard

from mer_hf.evaluation.run_report import read_report
from mer_hf.loading import bundled, bundled_names
from mer_hf.training.config import read_record

from .cards import model_card
from .folder import Source, assemble, check, read_source
from .onnx_export import export_onnx, missing_package
from .picture import render_picture
from .runs import FOLDS, Run, add_folds, is_run, make_root, read_run
from .scores import eval_entries
from .upload import check_name, publish

ONNX = "onnx"
"""Folder of the exported network in a repository, where other tools look for it."""
REPLACED = (f"{FOLDS}/*", f"{ONNX}/*", "*.safetensors", "*.safetensors.index.json")
"""Files of an earlier push that this one removes: they would be loaded in place of the new ones."""


def push(
    source: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    benchmark: str | None = None,
    onnx: bool | None = None,
    dry_run: bool = False,
) -> str:
    """Publish a checkpoint, or a run with a protocol with all its folds.

    It is assembled, loaded in a clean process and compared with its source before anything is sent.

    Args:
        source (`str` or `Path`): Folder of a checkpoint, or of a run with a protocol, or the name of a
            bundled checkpoint.
        repo_id (`str`): `owner/name`.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
        revision (`str`, *optional*): A tag for the commit.
        benchmark (`str`, *optional*): Dataset on the Hub, `owner/name`, that the run's report was measured
            on; its scores then also go to `.eval_results/`.
        onnx (`bool`, *optional*): Whether the network also goes along as ONNX, in `onnx/`; by default if the
            packages of the extra `onnx` are installed.
        dry_run (`bool`, *optional*, defaults to `False`): Return what would be uploaded, and send nothing.

    Returns:
        `str`: With `dry_run` the files and the card, else the address of the commit.

    Raises:
        ImportError: If ONNX is asked for and its packages are missing.
        ValueError: In one line, if the source must not be published, the name is invalid, there is no token
            or permission, or the connection is lost; the repository is then as it was.
    """
    check_name(repo_id, revision)
    path = bundled(str(source)) if str(source) in bundled_names() else Path(source)
    run = read_run(path) if is_run(path) else None
    with tempfile.TemporaryDirectory() as scratch:
        root = make_root(run, Path(scratch, "root")) if run else read_source(path)
        folder = Path(scratch, "repository")
        folder.mkdir()
        onnx = missing_package() is None if onnx is None else onnx
        card = _fill(folder, root, run, repo_id, benchmark, onnx)
        check(folder, root, {f"{FOLDS}/{run.other()}": run.trainings[run.other()]} if run else None)
        what = f"a run of mer_hf with {len(run.trainings)} networks" if run else "a checkpoint of mer_hf"
        options = {"private": private, "revision": revision, "remove": REPLACED, "dry_run": dry_run}
        return publish(folder, repo_id, card, f"Upload {what}", **options)


def _fill(
    folder: Path, root: Source, run: Run | None, repo_id: str, benchmark: str | None, onnx: bool
) -> ModelCard:
    """Assemble the repository in an empty folder, and return its card."""
    rendered = folder.with_name("rendered")
    rendered.mkdir()
    facts = {"caption": render_picture(root.path, rendered), "folds": run.facts() if run else None}
    assemble(root, folder, rendered)
    if onnx:
        export_onnx(root.path, folder / ONNX)
    if run:
        add_folds(run, folder)
    if benchmark:
        check_name(benchmark)
        report = read_report(root.path / "report.json", {})
        record = read_record(root.path / "train_config.json", {})
        results = folder / ".eval_results" / f"{benchmark.split('/')[1].lower()}.yaml"
        results.parent.mkdir()
        results.write_text(eval_entries(report, benchmark, record.get("commit")))
    return model_card(root, repo_id, benchmark=benchmark, onnx=onnx, **facts)
