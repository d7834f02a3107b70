"""`mer-hf push-synthetic`: generated data on the Hugging Face Hub."""

import argparse
import contextlib
import os
from pathlib import Path

from .terminal import bar, seen_stderr


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command of this file."""
    push = commands.add_parser("push-synthetic", help="publish generated data on the Hugging Face Hub")
    push.add_argument(
        "path", type=Path, metavar="PATH", help="a file of synth-flows, or a folder of train.py --cache-dir"
    )
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--private", action="store_true", help="of a repository that is made")
    push.add_argument("--revision", metavar="TAG", help="a tag for the commit")
    push.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")
    push.set_defaults(run=_push_synthetic)


def _push_synthetic(args: argparse.Namespace) -> str:
    from mer_hf.hub.push_synthetic import push_synthetic

    options = {name: getattr(args, name) for name in ("private", "revision", "dry_run")}
    with (
        open(os.dup(seen_stderr()), "w") as seen,
        bar("checking", "file") as done,
        contextlib.redirect_stderr(seen),
    ):
        return str(push_synthetic(args.path, args.repo_id, done=done, **options))
