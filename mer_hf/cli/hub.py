"""`mer-hf push`: the Hugging Face Hub."""

import argparse
import contextlib
import os
from pathlib import Path

from .terminal import seen_stderr


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    _add_push(commands)


def _add_push(commands: argparse._SubParsersAction) -> None:
    push = commands.add_parser("push", help="publish a checkpoint on the Hugging Face Hub")
    push.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder")
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

    with open(os.dup(seen_stderr()), "w") as seen, contextlib.redirect_stderr(seen):
        options = {name: getattr(args, name) for name in ("private", "revision", "benchmark", "dry_run")}
        return str(push(args.checkpoint, args.repo_id, **options))
