"""Published numbers, and what is known to be wrong with each: they stand beside ours, never in one ranking.

A number is quoted only where it could be read at its source.
"""

from dataclasses import dataclass

EPOCH = "epoch chosen on the tested subject, for each subject separately"
CLIP_FOLDS = "subjects shared between training and test (164 to 172 of each fold's 172 test clips)"
HUMAN_AUS = (
    "human action units are an input at test time; alone, without any pixel, they give UF1 0.845 (CASME II) "
    "and 0.947 (SAMM)"
)
APEX = "annotated onset and apex at test time"


@dataclass(frozen=True)
class Published:
    """A result as somebody published it.

    Attributes:
        model (`str`): Architecture, or the name of another method.
        task (`str`): Data and classes.
        scores (`str`): As published.
        source (`str`): Where it stands.
        faults (`tuple[str, ...]`): What is known of its protocol; empty if none is known.
        num_classes (`int`): Of the task; shown beside a report of as many.
    """

    model: str
    task: str
    scores: str
    source: str
    faults: tuple[str, ...]
    num_classes: int


PUBLISHED = (
    Published(
        "htnet", "MEGC2019 composite, 442 clips, 3 classes", "UF1 0.8603, UAR 0.8475", "paper, table 2",
        (EPOCH, APEX), 3,
    ),
    Published(
        "htnet", "the same, recomputed from the predictions that the authors committed",
        "UF1 0.8313, UAR 0.8175", "the authors' repository", (EPOCH, APEX), 3,
    ),
    Published(
        "htnet", "the same, a user's rerun", "UF1 0.655, UAR 0.652", "issue 21 of the authors' repository",
        ("it is not said which epoch",), 3,
    ),
    Published(
        "mmnet", "CASME II, 3 classes (156 clips: not the composite's 145)",
        "accuracy 95.51 %, F1 0.9494", "paper",
        (EPOCH, "accuracy and F1 at two different epochs", APEX), 3,
    ),
    Published(
        "mmnet", "CASME II, 5 classes", "accuracy 88.35 %, F1 0.8676", "paper",
        (EPOCH, "accuracy and F1 at two different epochs", APEX), 5,
    ),
    Published(
        "mmnet", "MMEW, 4 classes", "accuracy 87.45 %, F1 0.8635", "paper",
        (EPOCH, "accuracy and F1 at two different epochs", APEX), 4,
    ),
    Published(
        "facesleuth", "CASME II, 5 classes, SOA", "accuracy 95.1 %, F1 0.918", "arXiv 2506.02695v2, abstract",
        (EPOCH, "training stops when the tested subject is perfect", HUMAN_AUS, APEX), 5,
    ),
    Published(
        "facesleuth", "CASME II, 5 classes, SOA, the authors' own log", "accuracy 92.3 %, F1 0.923",
        "the authors' repository; at the last epoch 76.2 %", (EPOCH, HUMAN_AUS, APEX), 5,
    ),
    Published(
        "facesleuth", "SAMM, 5 classes, SOA", "accuracy 87.1 %, F1 0.840", "arXiv 2506.02695v2, abstract",
        (EPOCH, HUMAN_AUS, APEX, "the published code for it does not run"), 5,
    ),
    Published(
        "hsta", "CAS(ME)^3, 7 objective classes (a function of the AUs, not the emotion)",
        "the tables could not be read", "arXiv 2405.03202",
        (CLIP_FOLDS,
         "the tested part is also the validation part; whether its best epoch is reported cannot be decided",
         "extra macro-expressions of tested subjects in training (two of three scripts)", APEX), 7,
    ),
    Published(
        "SSSNet", "MEGC2019 composite, 3 classes, no choice on the test set", "UF1 0.739",
        "MEB benchmark (arXiv 2211.11425)", (), 3,
    ),
    Published(
        "STSTNet", "MEGC2019 composite, 3 classes", "UF1 0.713 (0.774 with the epoch chosen on the test set)",
        "MEB benchmark (arXiv 2211.11425)", (), 3,
    ),
    Published(
        "Off-ApexNet", "MEGC2019 composite, 3 classes",
        "UF1 0.703 (0.839 with the epoch chosen on the test set)", "MEB benchmark (arXiv 2211.11425)", (), 3,
    ),
)  # fmt: skip


def beside(model: str, num_classes: int) -> list[Published]:
    """What is worth showing beside a result: the same architecture, and methods without a known fault.

    Args:
        model (`str`): Architecture of the report.
        num_classes (`int`): Of the report's task.

    Returns:
        `list[Published]`: Results on as many classes.
    """
    others = {"htnet", "mmnet", "hsta", "facesleuth"} - {model}
    return [each for each in PUBLISHED if each.num_classes == num_classes and each.model not in others]
