"""The sound files that are broken: a clip, its frames, checkpoints, flow maps, sheets and a run."""

import json
import pickle
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

COUNT, FPS = 10, 30
CONTAINERS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "avi": "mpeg4", "webm": "libvpx"}
NETWORKS = ("htnet", "mmnet", "hsta", "facesleuth")
TRACKS = "tracks.pkl"


def write_seeds(folder: Path) -> None:
    """Write all seeds; takes some seconds."""
    from tests.moving_face import drift, raised_cosine, render, smile

    motion = [(raised_cosine(COUNT, 1, 5, 9), smile)]
    clip, _ = render(drift(COUNT, FPS, 1.0), fields=motion, size_wh=(360, 330))
    for suffix, codec in CONTAINERS.items():
        write_video(folder / f"face.{suffix}", clip.frames, codec)
    (folder / "frames").mkdir()
    for number, frame in enumerate(clip.frames[:6]):
        Image.fromarray(frame).save(folder / "frames" / f"img{number}.png")
    write_checkpoints(folder)
    write_tracks(folder)
    write_run(folder)


def write_video(path: Path, frames: np.ndarray, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.gop_size = 4
        stream.options = {"preset": "ultrafast", "bf": "2"} if codec == "libx264" else {}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_checkpoints(folder: Path) -> None:
    from mer_hf.loading import bundled
    from tests.models.tiny import tiny_model, tiny_processor

    for key in NETWORKS:
        tiny_model(key).save_pretrained(folder / key)
        processor = tiny_processor(key)
        if key == "htnet":
            processor.flow_method = "dis"  # the quicker one
        processor.save_pretrained(folder / key)
        shutil.copy(bundled(f"{key}-synthetic") / "calibration.json", folder / key)


def write_tracks(folder: Path) -> None:
    """Keep the track of the seeds' clip in every geometry of the networks."""
    from mer_hf.face.tracking import FaceGeometry, track_face
    from mer_hf.video.clip import read_clip

    clip, tracks = read_clip(folder / "face.mp4"), {}
    for key in NETWORKS:
        settings = json.loads((folder / key / "preprocessor_config.json").read_text())["face_geometry"] or {}
        geometry = FaceGeometry(**settings)
        if geometry not in tracks:
            tracks[geometry] = track_face(clip, geometry)
    (folder / TRACKS).write_bytes(pickle.dumps(tracks))


def write_run(folder: Path) -> None:
    """Train a network for three subjects, on maps whose class can be seen."""
    from mer_hf.data.flow_files import write_flow_maps
    from mer_hf.training.cli import main
    from tests.training.conftest import maps

    write_flow_maps(folder / "maps.npz", maps(3, 6))
    arguments = (
        f"--output-dir {folder}/run --data flows:{folder}/maps.npz --protocol loso --epochs 1 --batch-size 8 "
        "--baselines no --config hidden_size=12 depths=[1,1,1] --processor mosaic=corrected "
        "normalization=standardize flow_method=dis"
    )
    if main(arguments.split()):
        raise RuntimeError("the seeds' run was not trained")


def picture(kind: str, size: int = 64) -> bytes:
    """A small picture in a format of OpenCV."""
    shade = np.linspace(0, 255, size * size * 3).astype(np.uint8).reshape(size, size, 3)
    return cv2.imencode(kind, shade)[1].tobytes()
