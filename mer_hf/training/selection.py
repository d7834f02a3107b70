"""Which weights of a fold are tested: the last ones, or those of the epoch that a rule chooses.

The rule `oracle-epoch` looks at the tested clips' labels, as published code does. What it yields is marked
`test-selected` in every row of the log.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mer_hf.evaluation.metrics import accuracy, uf1
from mer_hf.utils.files import replacing, write_text
from mer_hf.utils.untrusted import read_json_lines

from .recorded import Recorded


@torch.inference_mode()
def predict(model: torch.nn.Module, recorded: Recorded, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Return class probabilities of some recorded clips, float64 `(m, num_classes)`.

    The mode of the network is restored afterwards.
    """
    training, parts = model.training, []
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(rows), batch_size):
        index = torch.from_numpy(rows[start : start + batch_size])
        inputs = {name: tensor[index].float().to(device) for name, tensor in recorded.inputs.items()}
        parts.append(model(**inputs).logits.double().softmax(dim=-1).cpu())
    model.train(training)
    return torch.cat(parts).numpy()


class BestEpoch:
    """Keeps the weights of the best epoch so far in a fold's folder, as `--selection` says.

    `inner` are training clips that were set aside; only `oracle-epoch` looks at labels of `test` clips. Of
    equal epochs it keeps the later one, as HTNet's code does.
    """

    def __init__(self, selection: str, folder: Path, recorded: Recorded, inner: np.ndarray, test: np.ndarray):
        self.path, self.scores_path = folder / "best-epoch.safetensors", folder / "epochs.jsonl"
        self.recorded, self.latest = recorded, selection == "oracle-epoch"
        self.rows, self.metric = (test, accuracy) if self.latest else (inner, uf1)

    def update(self, model: torch.nn.Module, epoch: int) -> None:
        """Score a network after an epoch, and keep its weights if they are the best."""
        rows = read_json_lines(self.scores_path, {"epoch": int, "score": float})
        earlier = [row for row in rows if row["epoch"] < epoch]  # a resumed run trains its last epochs again
        best = max((row["score"] for row in earlier), default=-1.0)
        table = self.recorded.table
        predictions = predict(model, self.recorded, self.rows).argmax(axis=1)
        score = self.metric(predictions, table.labels[self.rows], len(table.class_names))
        if score > best or (self.latest and score == best):
            with replacing(self.path) as temporary:
                save_file(model.state_dict(), temporary, {"epoch": str(epoch)})
        rows = [*earlier, {"epoch": epoch, "score": score}]
        write_text(self.scores_path, "".join(json.dumps(row) + "\n" for row in rows))

    def restore(self, model: torch.nn.Module) -> int:
        """Put the best weights into a network and return the number of epochs they were trained for."""
        model.load_state_dict(load_file(self.path))
        with safe_open(self.path, framework="pt") as file:
            return int(file.metadata()["epoch"])
