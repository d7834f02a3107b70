"""List the names that `--model` takes: bundled checkpoints, and an owner's on the Hub."""

import httpx2
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import get_session, hf_raise_for_status

from mer_hf.loading import bundled_names, hub_error

from .cards import TAG


def list_models(owner: str | None = None) -> tuple[list[str], str]:
    """Return the names, bundled ones first, and one line on what the Hub was asked.

    Args:
        owner (`str`, *optional*): A user or organisation on the Hub; without one the Hub is not asked.
    """
    names = bundled_names()
    if owner is None:
        return names, "mer-hf models OWNER also lists models on the Hub; hf cache ls lists what is cached."
    api = HfApi()
    address, query = f"{api.endpoint}/api/models", {"author": owner, "limit": 1}
    try:
        # list_models retries for about 20 seconds; without a network this first request fails at once.
        response = get_session().get(address, params=query, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        hf_raise_for_status(response)
        on_hub = sorted(model.id for model in api.list_models(author=owner, filter=TAG))
    except (httpx2.HTTPError, OSError) as error:
        return names, f"The models of {owner} are not listed: {hub_error(error, api, owner)}."
    return [*names, *on_hub], f"{api.endpoint} has {len(on_hub)} models of {owner} with the tag {TAG}."
