"""Loads folders as Hub code in a process without the package; run by test_remote_code.py.

python stranger.py ROOT CLIP.npy FOUND.npz     # ROOT/<key> is a saved folder
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


def answers_of(folder: str, clip) -> tuple[dict, dict]:
    """Return the arrays that a folder's classes give, and their names and the files they save."""
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    trusted = {"trust_remote_code": True}
    classifier = AutoModelForVideoClassification.from_pretrained(folder, **trusted)
    features = AutoModel.from_pretrained(folder, **trusted)
    processor = AutoImageProcessor.from_pretrained(folder, **trusted)
    config = AutoConfig.from_pretrained(folder, **trusted)
    inputs = processor(images=clip, onset=0, apex=3, return_tensors="pt")
    with torch.no_grad():
        logits, pooled = classifier(**inputs).logits, features(**inputs).pooler_output
    video = AutoVideoProcessor.from_pretrained(folder, **trusted)
    torch.testing.assert_close(video([clip], onset=0, apex=3, aligned=True, return_tensors="pt"), inputs)
    try:
        video("clip.mp4")
    except ImportError as error:
        refusal = str(error)
    heat = processor.to_face(classifier.relevance(target=1, **inputs))
    again = f"again-{os.path.basename(folder)}"
    features.save_pretrained(again)  # whichever class saves, the folder names all of them
    classifier.save_pretrained(again)
    processor.save_pretrained(again)
    video.save_pretrained(again)
    reloaded = AutoModelForVideoClassification.from_pretrained(again, **trusted)
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**inputs).logits, logits, rtol=1e-6, atol=1e-6)
    arrays = {"pixel_values": inputs["pixel_values"], "logits": logits, "pooled": pooled, "heat": heat}
    classes = [type(each).__name__ for each in (config, features, classifier, processor, video)]
    return arrays, {"classes": classes, "resaved": sorted(os.listdir(again)), "refusal": refusal}


def main(root: str, clip: str, found: str) -> None:
    sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]
    sys.meta_path.insert(0, WithoutThePackage)
    report = {"import_error": import_error()}

    import numpy as np

    everything = {}
    for key in sorted(os.listdir(root)):
        arrays, report[key] = answers_of(os.path.join(root, key), np.load(clip))
        everything |= {f"{key}_{name}": array for name, array in arrays.items()}
    np.savez(found, **everything)
    report["mer_hf_modules"] = [name for name in sys.modules if name.partition(".")[0] == "mer_hf"]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
