"""Calls of the page's endpoints that no form of it would make."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .cases import EITHER, FOREIGN, REFUSED, Case

API = "/gradio_api"
FILE = {"path": "CLIP", "meta": {"_type": "gradio.FileData"}}
"""An uploaded clip, as a client names it."""
CLIPS: dict[str, Any] = {
    "null": None,
    "text": "x",
    "a number": 5,
    "a list": [],
    "an object": {},
    "yes": True,
    "a path of the machine": {**FILE, "path": "/etc/hostname"},
    "above the folder": {**FILE, "path": "FOLDER/../../../../../../etc/hostname"},
    "a folder": {**FILE, "path": "FOLDER"},
    "a device": {**FILE, "path": "/dev/zero"},
    "a path that is a number": {**FILE, "path": 5},
    "a path with NUL": {**FILE, "path": "FOLDER/a\0.mp4"},
    "a long path": {**FILE, "path": "FOLDER/" + "a" * 5000},
    "an address": {**FILE, "path": None, "url": "http://127.0.0.1:1/x.mp4"},
    "a file of this machine as address": {**FILE, "path": "file:///etc/passwd"},
    "no meta": {"path": "CLIP"},
    "nested": json.loads("[" * 500 + "]" * 500),
}
MODELS: dict[str, Any] = {
    "null": None, "a number": 5, "a list": ["htnet-synthetic"], "an object": {}, "empty": "",
    "a path": "/etc", "above": "../htnet", "a folder here": "SEEDS/htnet", "unknown": "no-such-network",
    "a repository": "owner/name", "with a revision": "owner/name@../x", "NUL": "a\0b", "long": "a" * 100_000,
    "a terminal's name": "\x1b[2J", "a template": "{{7*7}}",
}  # fmt: skip
FORMATS: dict[str, Any] = {
    "text": "x", "null": None, "a number": 5, "a list": ["eaf"], "an object": {}, "above": "../eaf",
    "empty": "",
}  # fmt: skip
FRAMES: dict[str, Any] = {
    "text": "x", "null": None, "huge": 1e300, "below zero": -1, "half": 1.5, "a list": [1], "yes": True,
    "2^63": 2**63, "behind the end": 1000, "empty": "", "an object": {},
}  # fmt: skip
BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "null": b"null",
    "a list": b"[]",
    "a number": b"5",
    "no data": b"{}",
    "data that is null": b'{"data": null}',
    "data that is text": b'{"data": "x"}',
    "no arguments": b'{"data": []}',
    "many arguments": json.dumps({"data": [1] * 1000}).encode(),
    "nested": b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "NaN": b'{"data": [NaN, NaN]}',
    "not UTF-8": b'{"data": ["\xff"]}',
    "noise": FOREIGN["noise"],
}
CALLS = ("analyse", "classify", "compare", "export", "spot_long")
PATHS = (
    "/file=/etc/passwd", "/file=../../../../etc/passwd", "/file=/proc/self/environ",
    "/file=SEEDS/htnet/config.json", "/file=%00", "/stream/x/y/z/playlist.m3u8", "/call/analyse/none",
    "/queue/data?session_hash=none", "/component_server", "/upload_progress?upload_id=none",
)  # fmt: skip
UPLOADS: dict[str, dict] = {
    "no file": {"data": {"x": "y"}},
    "no form": {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    "a name above": {"files": {"files": ("../../../tmp/x.mp4", b"x")}},
    "a name with NUL": {"files": {"files": ("a\0b.mp4", b"x")}},
    "a long name": {"files": {"files": ("a" * 5000 + ".mp4", b"x")}},
    "no name": {"files": {"files": ("", b"x")}},
}


def _filled(value: Any, places: dict[str, str]) -> Any:
    """Replace the names of places in a value."""
    text = json.dumps(value)
    for name, place in places.items():
        text = text.replace(name, place)
    return json.loads(text)


def _call(seeds: Path, folder: Path, name: str, data: list) -> list:
    return ["page", "call", name, data]


def _request(seeds: Path, folder: Path, method: str, path: str, options: dict) -> list:
    return ["page", "request", method, path.replace("SEEDS", str(seeds)), options]


def cases() -> Iterator[Case]:
    for at, (kind, clip) in enumerate(CLIPS.items()):
        for name in sorted({CALLS[at % 5], CALLS[(at + 2) % 5], "export_coding"} - {"classify"}):
            data = [clip, "htnet-synthetic", "eaf"][: {"compare": 1, "export_coding": 3}.get(name, 2)]
            yield Case("page", "clips", f"{name}: {kind}", partial(_call, name=name, data=data))
    for at, (kind, model) in enumerate(MODELS.items()):
        for name in (("analyse", "export", "spot_long")[at % 3], "analyse"):
            yield Case("page", "networks", f"{name}: {kind}", partial(_call, name=name, data=[FILE, model]))
    for kind, format in FORMATS.items():
        data = [FILE, "htnet-synthetic", format]
        yield Case("page", "formats", kind, partial(_call, name="export_coding", data=data))
    for at, (kind, frame) in enumerate(FRAMES.items()):
        data: list = [FILE, "htnet-synthetic", 1, 5, 9]
        data[2 + at % 3] = frame
        due = EITHER if kind in ("half", "yes", "null") else REFUSED
        yield Case("page", "frames", f"classify: {kind}", partial(_call, name="classify", data=data), due)
    for kind, body in BODIES.items():
        options = {"content": body, "headers": {"content-type": "application/json"}}
        for path in (f"/call/{CALLS[len(kind) % 5]}", "/queue/join"):
            yield Case(
                "page",
                "bodies",
                f"{path}: {kind}",
                partial(_request, method="POST", path=path, options=options),
            )
    for path in PATHS:
        yield Case("page", "paths", path, partial(_request, method="GET", path=path, options={}))
    for kind, options in UPLOADS.items():
        make = partial(_request, method="POST", path="/upload", options=options)
        yield Case("page", "uploads", kind, make, EITHER)


# --- the page, in the process that asks ---------------------------------------------------------------------


class Page:
    """The page with the seeds' networks, and a client of it in the same process."""

    def __init__(self, seeds: Path) -> None:
        import sys

        sys.path.insert(0, str(Path(__file__).parents[2] / "space"))
        from app import LAUNCH
        from page.demo import build_demo
        from page.engine import Engine

        self.seeds, self._build, self._engine, self._launch = seeds, build_demo, Engine("cpu"), LAUNCH

    def ask(self, folder: Path, kind: str, *what: Any) -> tuple[int, str]:
        """Return what a program would: 0 and an answer, or 2 and the reason of a refusal."""
        import os

        from fastapi.testclient import TestClient
        from gradio.routes import App
        from gradio.utils import get_upload_folder

        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        demo = self._build(self._engine, ["htnet-synthetic"], {"smile": self.seeds / "face.mp4"})
        demo.queue()
        demo.show_error, demo.max_file_size = self._launch["show_error"], self._launch["max_file_size"]
        demo.has_launched = True  # only then Gradio checks what is asked for
        page = App.create_app(demo, app_kwargs=self._launch["app_kwargs"])
        with TestClient(page, raise_server_exceptions=False) as client:
            client.get(f"{API}/startup-events")
            if kind == "request":
                method, path, options = what
                answer = client.request(method, API + path, **options)
                if method == "GET" or answer.status_code >= 400 or not path.startswith("/call/"):
                    refused = answer.status_code >= 400 or "error" in answer.text[:40]
                    return (2 if refused else 0), f"{answer.status_code} {answer.text[:2000]}"
                return self._end(client, path, answer)
            name, data = what
            files = {"files": ("face.mp4", (self.seeds / "face.mp4").read_bytes())}
            clip = client.post(f"{API}/upload", files=files).json()[0]
            data = _filled(data, {"CLIP": clip, "FOLDER": get_upload_folder(), "SEEDS": str(self.seeds)})
            begun = client.post(f"{API}/call/{name}", json={"data": data})
            if begun.status_code >= 400:
                return 2, f"{begun.status_code} {begun.text[:2000]}"
            return self._end(client, f"/call/{name}", begun)

    @staticmethod
    def _end(client: Any, path: str, begun: Any) -> tuple[int, str]:
        """Wait for what becomes of a call that was taken."""
        stream = client.get(f"{API}{path}/{begun.json()['event_id']}").text
        return (0 if "event: complete" in stream else 2), stream[-2000:]
