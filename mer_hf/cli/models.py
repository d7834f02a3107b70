"""`mer-hf models`: what `--model` can name."""

import argparse
import json


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    models = commands.add_parser(
        "models", help="list the bundled checkpoints, and those of an owner on the Hub"
    )
    models.add_argument(
        "owner", nargs="?", metavar="OWNER", help="a user or organisation, whose models the Hub is asked for"
    )
    models.add_argument("--json", action="store_true", help="print one JSON object")
    models.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> str:
    from mer_hf.hub.listing import list_models

    names, note = list_models(args.owner)
    return json.dumps({"models": names, "hub": note}) if args.json else "\n".join([*names, "", note])
