"""Simple baselines on a protocol's own folds, which a network has to beat before its design counts.

Some need what a dataset may not have: annotated action units, the film that was watched (CAS(ME)^3), flow
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

from .recorded import Recorded

Baseline = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Training rows, tested rows -> probabilities of the tested ones `(m, num_classes)`."""

CNN_EPOCHS, CNN_BATCH, CNN_LR = 60, 64, 1e-3


def small_flow_cnn(num_classes: int) -> nn.Module:
    """Return one layer of 16 filters, pooled to 5 x 5, and a linear layer, for maps `(B, 3, 28, 28)`.

    STSTNet (Liong et al. 2019) has three streams of 3, 5 and 8 filters side by side; of one kernel size they
    are one layer of 16.
    """
    filters = [nn.Conv2d(3, 16, kernel_size=3, padding=2), nn.MaxPool2d(3), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*filters, nn.Flatten(), nn.Linear(16 * 25, num_classes))


def train_small_cnn(
    maps: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    seed: int,
    build: Callable[[int], nn.Module] = small_flow_cnn,
    epochs: int = CNN_EPOCHS,
) -> nn.Module:
    """Train it for a fixed number of epochs, classes weighted alike, on normalized maps `(N, 3, 28, 28)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=CNN_LR, weight_decay=0.01, fused=True)
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    weights = len(labels) / (num_classes * counts.float())
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in torch.from_numpy(rng.permutation(len(labels))).split(CNN_BATCH):
            loss = nn.functional.cross_entropy(model(maps[rows]), labels[rows], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def normalized(flow: np.ndarray) -> torch.Tensor:
    """Return flow maps `(N, 28, 28, 3)` as `(N, 3, 28, 28)`, each channel with mean 0 and deviation 1."""
    maps = torch.from_numpy(flow).permute(0, 3, 1, 2).float()
    return (maps - maps.mean((2, 3), keepdim=True)) / (maps.std((2, 3), keepdim=True) + 1e-6)


def _regression(features: np.ndarray, labels: np.ndarray, num_classes: int) -> Baseline:
    """Return logistic regression on `features (N, K)`, classes weighted alike; C = 1."""

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
    """Return the composite class of some action units, by a hand-made rule."""
    if "AU12" in units and not units & {"AU4", "AU9", "AU10"}:
        return "positive"
    if units & {"AU1", "AU2", "AU5"} and not units & {"AU4", "AU9"}:
        return "surprise"
    return "negative"


def available(recorded: Recorded, seed: int) -> dict[str, Baseline]:
    """Return the baselines that these data allow, by their key in `DESCRIPTIONS`; the CNN takes the seed."""
    table, extras = recorded.table, recorded.extras
    labels, count = table.labels, len(table.class_names)
    one_hot = np.eye(count)

    def majority(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        commonest = np.bincount(labels[train], minlength=count).argmax()
        return one_hot[np.full(len(test), commonest)]

    baselines: dict[str, Baseline] = {"majority class": majority}
    units = extras.get("action_units")
    if units is not None and any(units):
        if table.class_names == SCHEMES["composite3"]:
            ruled = np.array([table.class_names.index(rule_of_action_units(names)) for names in units])
            baselines["AU rule"] = lambda _, test: one_hot[ruled[test]]
        present = np.array([[name in names for name in ACTION_UNITS] for names in units], dtype=np.float64)
        baselines["AUs, logistic regression"] = _regression(present, labels, count)
    films = np.array([str(video).rstrip("/").rsplit("/", 1)[-1].lower() for video in table.videos])
    if set(table.datasets) == {"casme3"} and all(len(film) == 1 for film in films):
        letters = films[:, None] == np.unique(films)[None]
        baselines["film letter"] = _regression(letters.astype(np.float64), labels, count)
    if "flow" in extras:
        baselines["small flow CNN"] = _small_cnn(extras["flow"], labels, count, seed)
    return baselines


def _small_cnn(flow: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> Baseline:
    """Return the small network on flow maps whose channels have mean 0 and deviation 1."""
    maps, targets = normalized(flow), torch.from_numpy(labels)

    def answer(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        model = train_small_cnn(maps[train], targets[train], num_classes, seed)
        with torch.no_grad():
            return model(maps[test]).double().softmax(dim=-1).numpy()

    return answer


def baseline_rows(recorded: Recorded, folds: list[Fold], seed: int) -> list[dict]:
    """Train and test every baseline on every fold.

    Returns:
        `list[dict]`: Rows as in the log; `selection` is the baseline's name, which also precedes `key`.
    """
    rows = []
    for name, answer in available(recorded, seed).items():
        for fold in tqdm(folds, desc=name, unit="fold", leave=False):
            about = {"fold": fold.name, "seed": seed, "epoch": 0, "selection": name}
            tested = rows_of(recorded.table, fold.test, answer(fold.train, fold.test), **about)
            rows += [row | {"key": f"{name}: {row['key']}"} for row in tested]
    return rows
