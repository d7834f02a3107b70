"""`mer-hf push-synthetic`: generated data on the Hugging Face Hub."""

import argparse
import contextlib
import os

from .terminal import bar, seen_stderr


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command of this file."""
    push = commands.add_parser(
        "push-synthetic", help="draw flow maps and publish them on the Hugging Face Hub"
    )
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--subjects", type=int, default=22, metavar="N", help="people (default: %(default)s)")
    push.add_argument("--seed", type=int, default=0, metavar="S", help="chooses the people")
    push.add_argument("--private", action="store_true", help="of a repository that is made")
    push.add_argument("--revision", metavar="TAG", help="a tag for the commit")
    push.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")
    push.set_defaults(run=_push_synthetic)


def _push_synthetic(args: argparse.Namespace) -> str:
    from mer_hf.hub.push_synthetic import push_synthetic

    options = {name: getattr(args, name) for name in ("private", "revision", "dry_run")}
    with (
        open(os.dup(seen_stderr()), "w") as seen,
        bar("drawing", "subject") as progress,
        contextlib.redirect_stderr(seen),
    ):
        return push_synthetic(args.repo_id, args.subjects, args.seed, progress=progress, **options)
