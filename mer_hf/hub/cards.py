"""Write model cards from a template, the architecture's own text, and numbers that are read from files.

The texts are in `hub_cards/`: `template.md`, one file per architecture with the sections `about` and
`limits`, and `datasets.yaml`, the terms of each recorded dataset.
"""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData

from mer_hf import __version__
from mer_hf.evaluation.run_report import read_report
from mer_hf.loading import read_settings
from mer_hf.training.config import read_record
from mer_hf.utils.provenance import git_commit
from mer_hf.utils.untrusted import read_json

from .folder import PICTURE, Source, pictures_of
from .origin import dataset_names, training_facts
from .scores import METRICS, eval_results, is_test_selected, synthetic_scores, table_text

HERE = Path(__file__).resolve()
PLACES = (HERE.parents[2] / "hub_cards", HERE.parents[1] / "_data" / "hub_cards")
"""Where the texts are in a checkout, and in an installed wheel."""
TAG = "micro-expression-recognition"
"""Tag of every card that this package writes."""


def texts_folder() -> Path:
    """Return the folder of the texts."""
    for place in PLACES:
        if (place / "template.md").is_file():
            return place
    raise ValueError("the card texts (hub_cards) are missing from this installation. Install it again.")


def _sections(path: Path) -> dict[str, str]:
    """Split an architecture's text by its headings."""
    parts = (part.partition("\n") for part in path.read_text().split("## ")[1:])
    return {title.strip(): body.strip() for title, _, body in parts}


def model_card(
    source: Source,
    repo_id: str,
    *,
    caption: str = "",
    benchmark: str | None = None,
    folds: dict[str, Any] | None = None,
    onnx: bool = False,
) -> ModelCard:
    """Write the card of a checkpoint.

    Args:
        source ([`Source`]): The checkpoint.
        repo_id (`str`): Where it will be.
        caption (`str`, *optional*): Of the rendered picture; without one the source's first own picture is
            shown.
        benchmark (`str`, *optional*): Dataset on the Hub that its report was measured on.
        folds (`dict`, *optional*): If the folds of a run lie beside it: `count`, `seeds`, and `default`, the
            name of the fold at the root.
        onnx (`bool`, *optional*, defaults to `False`): Whether the network lies in `onnx/` too.
    """
    report = read_report(source.path / "report.json", {})
    record = read_record(source.path / "train_config.json", {})
    tables = read_json(source.path / "evaluation.json", list[dict], [])
    synthetic, folder, key = synthetic_scores(source.path), texts_folder(), source.architecture.key
    names = dataset_names(source.path, report)
    facts = training_facts(record, names)
    title = repo_id.split("/")[1]
    data = ModelCardData(
        license="apache-2.0" if facts["generated"] else "cc-by-nc-4.0",
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=[TAG, "facial-expression", key],
        datasets=[benchmark] if benchmark else None,
        metrics=[metric.hub_id for metric in METRICS],
        model_name=title,
        eval_results=eval_results(report, synthetic) or None,
    )
    return ModelCard.from_template(
        data,
        template_path=str(folder / "template.md"),
        repo_id=repo_id,
        title=title,
        parameters=f"{source.parameters:,}",
        classes=", ".join(read_settings(source.path)[0].id2label.values()),
        report=report,
        selected=is_test_selected(report),
        metrics=METRICS,
        synthetic=synthetic,
        tables=[table_text(table) for table in tables],
        names=names,
        terms=yaml.safe_load((folder / "datasets.yaml").read_text()),
        picture=PICTURE if caption else next(iter(pictures_of(source.path)), ""),
        caption=caption,
        folds=folds,
        onnx=onnx,
        **_sections(folder / f"{key}.md"),
        **facts,
    )


def generated_data_card(
    repo_id: str, text: str, metadata: dict[str, Any], facts: dict[str, Any]
) -> DatasetCard:
    """Write the card of a dataset that this package drew, from one of the texts."""
    shared = {"repo_id": repo_id, "title": repo_id.split("/")[1], "commit": git_commit()}
    data = DatasetCardData(
        license="apache-2.0",
        pretty_name=shared["title"],
        annotations_creators=["machine-generated"],
        **metadata,
    )
    path = str(texts_folder() / text)
    return DatasetCard.from_template(data, template_path=path, version=__version__, **shared, **facts)
