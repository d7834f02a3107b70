"""Checks of a card's metadata: what the Hub refuses is refused here first, and then the Hub is asked."""

from collections.abc import Sequence

from huggingface_hub import DatasetCard, HfApi, ModelCard, RepoCard
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session
from transformers.pipelines import SUPPORTED_TASKS

LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0",
    "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "mit", "mpl-2.0", "ms-pl", "odbl", "odc-by", "openrail", "osl-3.0", "pddl", "postgresql", "unknown",
    "unlicense", "wtfpl", "zlib", "other",
)  # fmt: skip
"""Those of the Hub's documented list that can come up here; the library has no list of its own."""

METRIC_IDS = ("accuracy", "balanced_accuracy", "confusion_matrix", "f1", "precision", "recall", "roc_auc")
"""Metrics of classification that have a page on the Hub."""

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")


def check_model_card(text: str) -> ModelCard:
    """Refuse a model card that the Hub would refuse, or show wrongly.

    Args:
        text (`str`): README.md.

    Returns:
        `ModelCard`: The card.

    Raises:
        ValueError: In one line.
    """
    card = _read(ModelCard, text)
    data = card.data.to_dict()
    _check_licence(data.get("license"))
    _check_all("pipeline_tag", [data.get("pipeline_tag")], tuple(SUPPORTED_TASKS))
    _check_all("metrics", data.get("metrics") or [], METRIC_IDS)
    for model in data.get("model-index", [{"results": None}]):
        if model["results"] is not None:
            _check_results(model)
    return card


def check_dataset_card(text: str) -> DatasetCard:
    """Refuse a data set's card that the Hub would refuse.

    Args:
        text (`str`): README.md.

    Returns:
        `DatasetCard`: The card.

    Raises:
        ValueError: In one line.
    """
    card = _read(DatasetCard, text)
    data = card.data.to_dict()
    _check_licence(data.get("license"))
    _check_all("task_categories", data.get("task_categories") or [None], tuple(SUPPORTED_TASKS))
    _check_all("size_categories", data.get("size_categories") or [None], SIZES)
    return card


def ask_hub(card: RepoCard, api: HfApi) -> None:
    """Let the Hub validate a card before anything is sent.

    `RepoCard.validate` does this at the endpoint of the environment alone; this asks the one that is pushed
    to.

    Args:
        card (`RepoCard`): The card.
        api (`HfApi`): With the endpoint.

    Raises:
        ValueError: In one line, if the Hub refuses the metadata.
    """
    body = {"repoType": card.repo_type, "content": str(card)}
    response = get_session().post(
        f"{api.endpoint}/api/validate-yaml", json=body, headers={"Accept": "text/plain"}
    )
    if response.status_code == 400:
        raise ValueError(f"the Hub refuses the card's metadata: {_one_line(response.text)}")
    if response.status_code >= 400:
        raise HfHubHTTPError(f"{response.status_code} from {response.url}", response=response)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def _read(kind: type[RepoCard], text: str) -> RepoCard:
    try:
        card = kind(text)
    except Exception as error:  # YAML's own errors, and those of a malformed model-index
        raise ValueError(f"the card's metadata cannot be read: {_one_line(error)}") from error
    if not text.startswith("---"):
        raise ValueError("the card has no metadata: it must begin with a block between two lines of ---.")
    return card


def _check_licence(found: object) -> None:
    if found not in LICENCES:
        raise ValueError(f"the card's license must be one the Hub knows, such as apache-2.0, got {found!r}.")


def _check_all(field: str, found: Sequence[object], known: Sequence[str]) -> None:
    for value in found:
        if value not in known:
            raise ValueError(f"the card's {field} must be of {', '.join(sorted(known))}; got {value!r}.")


def _check_results(model: dict) -> None:
    """A model-index has results, and each of them numbers of metrics that exist."""
    if not model["results"]:
        raise ValueError("the card's model-index is empty. Leave it out, or add results.")
    for result in model["results"]:
        if not result.get("metrics"):
            raise ValueError("the card's model-index has a result without metrics.")
        for metric in result["metrics"]:
            _check_all("model-index", [metric.get("type")], METRIC_IDS)
            value = metric.get("value")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"the card's {metric['type']} must lie in 0 to 1, got {value!r}.")
