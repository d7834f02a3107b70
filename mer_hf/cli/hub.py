"""`mer-hf models`, `export`, `push`, `reproduce`, `push-synthetic`, `deploy-space`: the Hugging Face Hub."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from mer_hf.utils import bounds

from .terminal import JSON, SEVERAL, argument, bar, command, flag, number, options_of, visible_stderr

REPO_ID = argument("repo_id", "REPO_ID", "owner/name")
PRIVATE = flag("--private", "make a new repository private")
DRY_RUN = flag("--dry-run", "show what would be done, and do nothing")
PUBLISHING = (REPO_ID, PRIVATE, argument("--revision", "TAG", "a tag for the commit"), DRY_RUN)
DATA = "folders made by mer-hf prepare, joined by commas, or flows:FILE.npz"


@contextlib.contextmanager
def _transfers_shown() -> Iterator[None]:
    """Show the bars of transfers, but not one for each file of weights that is read."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    with visible_stderr() as file, contextlib.redirect_stderr(file):
        yield


@command(argument("owner", "OWNER", "a user or organisation whose models to list", nargs="?"), JSON)
def models(args: argparse.Namespace) -> str:
    """List the bundled checkpoints, and those of an owner on the Hub."""
    from mer_hf.hub.listing import list_models

    names, note = list_models(args.owner)
    return json.dumps({"models": names, "hub": note}) if args.json else "\n".join([*names, "", note])


@command(
    argument("checkpoint", "CHECKPOINT_OR_RUN", "a folder (run: with --protocol), or bundled", type=Path),
    *PUBLISHING,
    argument("--benchmark", "OWNER/NAME", "dataset on the Hub that the report was measured on"),
    ("--onnx", {"action": argparse.BooleanOptionalAction, "help": "also as ONNX (default: if it can be)"}),
)
def push(args: argparse.Namespace) -> str:
    """Publish a checkpoint, or a run with all its folds, on the Hub."""
    from mer_hf.hub.push import push

    options = options_of(args, "private", "revision", "benchmark", "onnx", "dry_run")
    with _transfers_shown():
        return push(args.checkpoint, args.repo_id, **options)


@command(
    argument("model", "MODEL", "a bundled checkpoint, a folder, or OWNER/NAME[@REVISION] on the Hub"),
    argument("--onnx", "DIR", "the folder to make", type=Path, required=True),
    flag("--int8", "also write model_int8.onnx, with weights of 8 bits"),
)
def export(args: argparse.Namespace) -> str:
    """Write a checkpoint as ONNX, for onnxruntime."""
    from mer_hf.hub.onnx_export import export_onnx

    return export_onnx(args.model, args.onnx, args.int8)


@command(
    argument("source", "REPO_ID_OR_DIR", "owner/name on the Hub, or a folder"),
    argument("--data", "DATA", f"your own copy: {DATA}", required=True),
    argument("--revision", "R", "branch, tag or commit"),
    JSON,
)
def reproduce(args: argparse.Namespace) -> str:
    """Compute the numbers of a published run again; exit code 1 if they do not match."""
    from mer_hf.hub.reproduce import format_result, reproduce

    with _transfers_shown(), bar("asking the folds", "clip") as progress:
        result = reproduce(args.source, args.data, revision=args.revision, progress=progress)
    args.exit_code = 0 if result["matches"] else 1
    return json.dumps(result) if args.json else format_result(result)


@command(
    *PUBLISHING,
    argument("--subjects", "N", "people (default: %(default)s)", type=number(int, bounds.MANY), default=22),
    argument("--seed", "S", "chooses them (default: %(default)s)", type=number(int, bounds.SEED), default=0),
    flag("--evaluation", "the fixed evaluation set instead: flow maps and clips at four difficulties"),
)
def push_synthetic(args: argparse.Namespace) -> str:
    """Draw flow maps, or the fixed evaluation set, and publish them on the Hub."""
    from mer_hf.hub.push_evaluation import push_evaluation
    from mer_hf.hub.push_synthetic import push_synthetic

    options = options_of(args, "private", "revision", "dry_run")
    if args.evaluation:
        with _transfers_shown(), bar("drawing", "level") as progress:
            return push_evaluation(args.repo_id, progress=progress, **options)
    with _transfers_shown(), bar("drawing", "subject") as progress:
        return push_synthetic(args.repo_id, args.subjects, args.seed, progress=progress, **options)


@command(
    REPO_ID,
    PRIVATE,
    argument("--hardware", "NAME", "a machine of the Hub, such as cpu-upgrade"),
    argument("--secret", "NAME", "its value is read from the environment variable NAME", **SEVERAL),
    argument("--variable", "NAME=VALUE", "everybody sees it", **SEVERAL),
    DRY_RUN,
)
def deploy_space(args: argparse.Namespace) -> str:
    """Deploy the page as a Space on the Hub."""
    from mer_hf.hub.space import deploy_space

    if wrong := [variable for variable in args.variable if "=" not in variable]:
        raise ValueError(f"expected --variable NAME=VALUE, got {wrong[0]}")
    options = options_of(args, "private", "hardware", "dry_run")
    variables = dict(variable.split("=", 1) for variable in args.variable)
    with _transfers_shown():
        return deploy_space(args.repo_id, secrets=args.secret, variables=variables, **options)
