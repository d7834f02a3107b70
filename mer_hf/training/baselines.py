"""Simple baselines on a protocol's own folds: what a network has to beat before its design counts.

Some need what a data set may not have: human action units, the film that was watched (CAS(ME)^3), motion
maps. Each is trained on the training clips of a fold alone, and leaves rows like those of the log.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from tqdm.auto import tqdm

from mer_hf.data.splits import Fold
from mer_hf.evaluation.fold_log import rows_of
from mer_hf.labels import ACTION_UNITS, SCHEMES
from mer_hf.training.recorded import Recorded

Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Training rows, tested rows -> probabilities of the tested ones `(m, num_classes)`."""

CNN_EPOCHS, CNN_BATCH, CNN_LR = 60, 64, 1e-3


class SmallFlowCNN(nn.Module):
    """One layer of 16 filters, pooled to 5 x 5, and a linear layer.

    STSTNet (Liong et al. 2019) has three streams of 3, 5 and 8 filters side by side; of one kernel size they
    are one layer of 16.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, kernel_size=3, padding=2)
        self.classifier = nn.Linear(16 * 25, num_classes)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`(B, 3, 28, 28)` -> logits."""
        pooled = nn.functional.max_pool2d(self.convolution(maps), kernel_size=3, stride=3).relu()
        return self.classifier(nn.functional.avg_pool2d(pooled, kernel_size=2).flatten(1))


def train_small_cnn(maps: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int) -> SmallFlowCNN:
    """Train it for a fixed number of epochs on balanced batches.

    Args:
        maps (`torch.Tensor` of shape `(N, 3, 28, 28)`): float32, each channel of mean 0 and deviation 1.
        labels (`torch.Tensor` of shape `(N,)`): int64.
        num_classes (`int`): Number of classes.
        seed (`int`): Of the weights and the order.

    Returns:
        [`SmallFlowCNN`]: In evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallFlowCNN(num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=CNN_LR, weight_decay=0.01, fused=True)
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    weights = len(labels) / (num_classes * counts.float())
    rng = np.random.default_rng(seed)
    for _ in range(CNN_EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(labels))).split(CNN_BATCH):
            loss = nn.functional.cross_entropy(model(maps[rows]), labels[rows], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def _one_hot(answers: np.ndarray, num_classes: int) -> np.ndarray:
    return np.eye(num_classes)[answers]


def _fitted(features: np.ndarray, labels: np.ndarray, num_classes: int) -> Answer:
    """Logistic regression on `features (N, K)`, classes weighted alike; C = 1."""

    def answer(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        present = np.unique(labels[train])
        result = np.zeros((len(test), num_classes))
        if len(present) == 1:
            result[:, present] = 1.0
            return result
        model = LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced")
        model.fit(features[train], labels[train])
        result[:, model.classes_] = model.predict_proba(features[test])
        return result

    return answer


def rule_of_action_units(units: set[str]) -> str:
    """The hand rule for the composite's three classes."""
    if "AU12" in units and not units & {"AU4", "AU9", "AU10"}:
        return "positive"
    if units & {"AU1", "AU2", "AU5"} and not units & {"AU4", "AU9"}:
        return "surprise"
    return "negative"


def available(recorded: Recorded, seed: int) -> dict[str, Answer]:
    """The baselines that these data allow.

    Args:
        recorded ([`Recorded`]): All clips.
        seed (`int`): Of the small network.

    Returns:
        `dict[str, Answer]`: Key of `DESCRIPTIONS` -> what answers.
    """
    table, extras = recorded.table, recorded.extras
    labels, count = table.labels, len(table.class_names)

    def majority(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        commonest = np.bincount(labels[train], minlength=count).argmax()
        return _one_hot(np.full(len(test), commonest), count)

    found: dict[str, Answer] = {"majority class": majority}
    units = extras.get("action_units")
    if units is not None and any(units):
        if table.class_names == SCHEMES["composite3"]:
            ruled = np.array([table.class_names.index(rule_of_action_units(each)) for each in units])
            found["AU rule"] = lambda _, test: _one_hot(ruled[test], count)
        present = np.array([[name in each for name in ACTION_UNITS] for each in units], dtype=np.float64)
        found["AUs, logistic regression"] = _fitted(present, labels, count)
    films = np.array([str(video).rstrip("/").rsplit("/", 1)[-1].lower() for video in table.videos])
    if set(table.datasets) == {"casme3"} and all(len(film) == 1 for film in films):
        letters = films[:, None] == np.unique(films)[None]
        found["film letter"] = _fitted(letters.astype(np.float64), labels, count)
    if "flow" in extras:
        found["small flow CNN"] = _small_cnn(extras["flow"], labels, count, seed)
    return found


def _small_cnn(flow: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> Answer:
    maps = torch.from_numpy(flow).permute(0, 3, 1, 2).float()
    maps = (maps - maps.mean((2, 3), keepdim=True)) / (maps.std((2, 3), keepdim=True) + 1e-6)
    targets = torch.from_numpy(labels)

    @torch.no_grad()
    def answer(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(train)
        with torch.enable_grad():
            model = train_small_cnn(maps[rows], targets[rows], num_classes, seed)
        return model(maps[torch.from_numpy(test)]).double().softmax(dim=-1).numpy()

    return answer


def baseline_rows(recorded: Recorded, folds: list[Fold], seed: int) -> list[dict]:
    """Train and test every baseline on every fold.

    Args:
        recorded ([`Recorded`]): All clips.
        folds (`list[Fold]`): Of the protocol.
        seed (`int`): Of the small network.

    Returns:
        `list[dict]`: Rows as in the log, `selection` holding the baseline's name; `key` is preceded by it.
    """
    rows = []
    baselines = available(recorded, seed)
    with tqdm(total=len(baselines) * len(folds), desc="baselines", unit="fold", leave=False) as bar:
        for name, answer in baselines.items():
            for fold in folds:
                made = rows_of(
                    recorded.table, fold.test, answer(fold.train, fold.test),
                    fold=fold.name, seed=seed, epoch=0, selection=name,
                )  # fmt: skip
                rows += [row | {"key": f"{name}: {row['key']}"} for row in made]
                bar.update()
    return rows
