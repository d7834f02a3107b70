"""`mer-hf models`: what `--model` can name."""

import argparse


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands of this file."""
    models = commands.add_parser(
        "models", help="list the checkpoints of the package, of the cache, and of an owner on the Hub"
    )
    models.add_argument(
        "owner", nargs="?", metavar="OWNER", help="a user or organisation, whose models the Hub is asked for"
    )
    models.add_argument("--json", action="store_true", help="print one JSON object")
    models.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> str:
    from mer_hf.hub.listing import list_models

    listing = list_models(args.owner)
    return listing.to_json() if args.json else str(listing)
