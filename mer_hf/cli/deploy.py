"""`mer-hf deploy-space`: the page as a Space."""

import argparse
import contextlib
import os

from .terminal import seen_stderr


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    deploy = commands.add_parser("deploy-space", help="deploy the page as a Space of the Hugging Face Hub")
    deploy.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    deploy.add_argument("--private", action="store_true", help="of a Space that is made")
    deploy.add_argument("--hardware", metavar="NAME", help="a machine of the Hub's, such as cpu-upgrade")
    several = {"nargs": "+", "action": "extend", "default": []}
    deploy.add_argument(
        "--secret", metavar="NAME", **several, help="its value is read from the environment variable NAME"
    )
    deploy.add_argument("--variable", metavar="NAME=VALUE", **several, help="everybody sees it")
    deploy.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    deploy.set_defaults(run=_deploy)


def _deploy(args: argparse.Namespace) -> str:
    from mer_hf.hub.space import deploy_space

    if wrong := [each for each in args.variable if "=" not in each]:
        raise ValueError(f"expected --variable NAME=VALUE, got {wrong[0]}")
    options = {name: getattr(args, name) for name in ("private", "hardware", "dry_run")}
    variables = dict(each.split("=", 1) for each in args.variable)
    with open(os.dup(seen_stderr()), "w") as seen, contextlib.redirect_stderr(seen):
        return deploy_space(args.repo_id, secrets=args.secret, variables=variables, **options)
