"""Loads a folder as Hub code in a process without the package; run by test_remote_code.py.

python stranger.py FOLDER CLIP.npy FOUND.npz
"""

import json
import os
import sys


class WithoutThePackage:
    """An import finder before which an installed (even editable) mer_hf is not found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "mer_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def import_error() -> str | None:
    try:
        import mer_hf  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def main(folder: str, clip: str, found: str) -> None:
    sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]
    sys.meta_path.insert(0, WithoutThePackage)
    report = {"import_error": import_error()}

    import numpy as np
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoModelForVideoClassification

    classifier = AutoModelForVideoClassification.from_pretrained(folder, trust_remote_code=True)
    features = AutoModel.from_pretrained(folder, trust_remote_code=True)
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(images=np.load(clip), onset=0, apex=3, return_tensors="pt")
    with torch.no_grad():
        logits, pooled = classifier(**inputs).logits, features(**inputs).pooler_output
    heat = processor.to_face(classifier.relevance(target=1, **inputs))
    np.savez(found, pixel_values=inputs["pixel_values"], logits=logits, pooled=pooled, heat=heat)

    classifier.save_pretrained("again")
    processor.save_pretrained("again")
    again = AutoModelForVideoClassification.from_pretrained("again", trust_remote_code=True)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, logits)
    report["resaved"] = sorted(os.listdir("again"))
    report["classes"] = [type(each).__name__ for each in (classifier, features, processor)]
    report["mer_hf_modules"] = [name for name in sys.modules if name.partition(".")[0] == "mer_hf"]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
