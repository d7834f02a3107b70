"""`mer-hf push` and `reproduce`: the Hugging Face Hub."""

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from .terminal import bar, seen_stderr


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_push(commands)
    _add_reproduce(commands)


@contextlib.contextmanager
def _bars_seen() -> Iterator[None]:
    """Lets the bars of transfers be seen, and not one for each file of weights that is read."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    with open(os.dup(seen_stderr()), "w") as seen, contextlib.redirect_stderr(seen):
        yield


def _add_push(commands: argparse._SubParsersAction) -> None:
    push = commands.add_parser("push", help="publish a checkpoint, or a run with all its folds, on the Hub")
    push.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT_OR_RUN", help="its folder; of a run with --protocol"
    )
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--private", action="store_true", help="of a repository that is made")
    push.add_argument("--revision", metavar="TAG", help="a tag for the commit")
    push.add_argument(
        "--benchmark", metavar="OWNER/NAME", help="data set of the Hub that the run's report was measured on"
    )
    push.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")
    push.set_defaults(run=_push)


def _push(args: argparse.Namespace) -> str:
    from mer_hf.hub.push import push

    with _bars_seen():
        options = {name: getattr(args, name) for name in ("private", "revision", "benchmark", "dry_run")}
        return push(args.checkpoint, args.repo_id, **options)


def _add_reproduce(commands: argparse._SubParsersAction) -> None:
    reproduce = commands.add_parser(
        "reproduce", help="compute the numbers of a published run again; exit code 1 if they do not match"
    )
    reproduce.add_argument("source", metavar="REPO_ID_OR_DIR", help="owner/name on the Hub, or a folder")
    reproduce.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="your own copy: folders made by mer-hf prepare, joined by commas, or flows:FILE.npz",
    )
    reproduce.add_argument("--revision", metavar="R", help="branch, tag or commit")
    reproduce.add_argument("--json", action="store_true", help="print one JSON object")
    reproduce.set_defaults(run=_reproduce)


def _reproduce(args: argparse.Namespace) -> str:
    from mer_hf.hub.reproduce import format_result, reproduce

    with _bars_seen(), bar("asking the folds", "clip") as progress:
        found = reproduce(args.source, args.data, revision=args.revision, progress=progress)
    args.exit_code = 0 if found["matches"] else 1
    return json.dumps(found) if args.json else format_result(found)
