"""Model cards: a template, the architecture's own words, and numbers that are read and never typed.

The texts lie in `hub_cards/`: `template.md`, one file per architecture with the sections `about` and
`limits`, and `datasets.yaml`, what the agreement of each recorded data set says.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open

from .folder import Source
from .origin import data_sets, data_text, is_synthetic, made_by, training_text
from .scores import METRICS, eval_results, read_json, scores_text, synthetic_scores

HERE = Path(__file__).resolve()
PLACES = (HERE.parents[2] / "hub_cards", HERE.parents[1] / "_data" / "hub_cards")
"""In a checkout, and in an installed wheel."""

BIAS_GENERATED = (
    "The public statistics that the synthetic motion follows come from data sets recorded mostly in China, "
    "Finland and the United Kingdom, of young adults; muscles, skin and proportions of the generated faces "
    "are drawn from ranges that nobody has compared with a population."
)
BIAS_RECORDED = (
    "The recorded data sets are small, mostly of young adults in China, Finland and the United Kingdom, "
    "filmed in laboratories while they watched films and held back what they felt."
)


def texts_folder() -> Path:
    """Where the texts of the cards are.

    Raises:
        ValueError: If the installation lacks them.
    """
    for place in PLACES:
        if (place / "template.md").is_file():
            return place
    raise ValueError(
        "the texts of the cards (hub_cards) are missing from this installation. Install it again."
    )


def sections(path: Path) -> dict[str, str]:
    """The sections of an architecture's text, by their headings."""
    found = {}
    for part in path.read_text().split("## ")[1:]:
        title, _, body = part.partition("\n")
        found[title.strip()] = body.strip()
    return found


def _parameters(source: Source) -> int:
    total = 0
    for name in source.weights:
        with safe_open(source.path / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (it is no dictionary)
                size = 1
                for side in file.get_slice(key).get_shape():
                    size *= side
                total += size
    return total


def model_card(
    source: Source,
    repo_id: str,
    *,
    picture: str | None = None,
    picture_says: str = "",
    datasets: tuple[str, ...] = (),
    folds: dict[str, Any] | None = None,
) -> str:
    """The card of a checkpoint, with checked metadata.

    Args:
        source ([`Source`]): The checkpoint.
        repo_id (`str`): Where it is going to be.
        picture (`str`, *optional*): Name of the picture of a prediction; by default the first of the source's
            own that may leave.
        picture_says (`str`, *optional*): What is to be seen on it.
        datasets (`tuple[str, ...]`, *optional*): Data sets of the Hub that it was trained or measured on.
        folds (`dict`, *optional*): Of a run whose folds lie beside it: `count`, `seeds`, and `default`, the
            fold that it is.

    Returns:
        `str`: README.md.

    Raises:
        ValueError: If a text of the card is missing, or a file of the run cannot be read.
    """
    config = read_json(source.path / "config.json")
    record, report = (read_json(source.path / name) for name in ("train_config.json", "report.json"))
    synthetic, tables = synthetic_scores(source.path), read_json(source.path / "evaluation.json") or []
    folder, key = texts_folder(), source.architecture.key
    names = data_sets(source.path, report)
    drawn = names == ("synthetic",) and str(record.get("data")).startswith("flows:")  # by mer-hf synth-flows
    seen = record | {"data": "synthetic"} if drawn else record
    words, licence = data_text(seen, names, folder / "datasets.yaml")
    data = ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["micro-expression-recognition", "facial-expression", key],
        datasets=list(datasets) or None,
        metrics=[metric.hub_id for metric in METRICS.values()],
        model_name=repo_id.split("/")[-1],
        eval_results=eval_results(report, synthetic) or None,
    )
    own = sections(folder / f"{key}.md")
    card = ModelCard.from_template(
        data,
        template_path=str(folder / "template.md"),
        repo_id=repo_id,
        title=repo_id.split("/")[-1],  # model_name is no variable of the template once there are results
        about=own["about"],
        limits=own["limits"],
        parameters=f"{_parameters(source):,}",
        classes=", ".join(config["id2label"].values()),
        training=training_text(seen),
        scores=scores_text(report, synthetic, tables),
        bias=BIAS_GENERATED if is_synthetic(seen) else BIAS_RECORDED,
        data=words,
        made_by=made_by(record),
        picture=picture or next(iter(source.pictures), ""),
        picture_says=picture_says,
        folds=folds,
        data_form="flows:FILE.npz" if str(record.get("data")).startswith("flows:") else "DIR",
    )
    return str(card)
