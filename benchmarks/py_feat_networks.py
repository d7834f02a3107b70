"""Run the networks of py-feat 2, and nothing else of it, on single pictures: a part of `benchmarks.peers`.

    PYTHON benchmarks/py_feat_networks.py HEIGHT WIDTH FRAMES    # PYTHON of an environment that has py-feat

Those of `Detectorv2` as it is by default, for a picture with one face: a face detector, a network for action
units, emotion, gaze and mesh, and one for identity. Their weights are random, as py-feat's come from the Hub:
time does not depend on them. Each line of the input is answered, after FRAMES pictures, by a line.
"""

import sys

import torch
from feat.face_detectors.Retinaface.Retinaface_model import RETINAFACE_R34_CFG, RetinaFace
from feat.identity_detectors.arcface.arcface_model import ArcFace
from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config

VERSION_25 = {"n_au": 20, "n_emotion": 7, "n_blendshape": 52, "use_head_v3": True, "drop_mefl": True}
"""What its release notes say of the published multitask network, as far as it changes the time."""


def main(height: int, width: int, frames: int) -> None:
    """Answer lines until the input ends."""
    multitask = MEGraphAUv2(ModelV2Config(pretrained=False, mesh_normalized=True, **VERSION_25))
    networks = [RetinaFace(RETINAFACE_R34_CFG).eval(), multitask.eval(), ArcFace().eval()]
    pictures = [torch.rand(1, 3, *size) for size in ((height, width), (224, 224), (112, 112))]
    with torch.inference_mode():
        for _ in sys.stdin:
            for _ in range(frames):
                for network, picture in zip(networks, pictures, strict=True):
                    network(picture)
            print("done", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
