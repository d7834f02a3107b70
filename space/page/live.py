"""The tab of a camera: expressions as they end.

The browser takes pictures from the camera and sends several at once, as JPEG with their times, to a function
of the page; its answer is what was found since. No picture is written to a file.
"""

import base64
import io
import math
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from mer_hf.inference.live import Background, Live, LiveEvent, Update
from mer_hf.inference.long_video import LongVideo
from mer_hf.inference.pipeline import REPORTED, MicroExpressionPipeline
from mer_hf.interchange.coding import Coding
from mer_hf.interchange.formats import SUFFIXES, WRITERS

from . import view
from .uploads import Refusal, one_line
from .visitors import visitor

MOST_LIVE, MOST_OF_ADDRESS = 2, 1
"""Cameras watched at one time, of all visitors and of one address: each takes about a core."""
LONGEST_S, IDLE_S, KEEP_S = 1800.0, 15.0, 600.0
"""A session ends after the first, or when nothing came for the second. Its events are kept for the third."""
MOST_HELD, MOST_PICTURES, MOST_SIDE = 100, 60, 1280
SLOWED = 2.0
"""How much slower than life a replay is."""
FORMATS = {"coding": "JSON", "eaf": "ELAN", "boris": "BORIS", "facs": "FACS sheet"}
SCRIPT = Path(__file__).with_suffix(".js").read_text()


@dataclass(eq=False)
class Session:
    """A camera that is watched; when it has ended, only what was found is left."""

    address: str
    work: Background | None
    found: LongVideo | None = None
    begun_s: float = field(default_factory=time.monotonic)
    seen_s: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> list[Update]:
        """Free what the camera took; return the last news."""
        with self.lock:
            work, self.work = self.work, None
            if work is None:
                return []
            news = work.close()
            self.found = work.live.result()
            return news


class Sessions:
    """The cameras that are watched, by a name that only their visitor knows."""

    def __init__(self) -> None:
        self.held: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, model: str, address: str) -> str:
        """Return the name of a new session; raise `Refusal` where there are as many as can be."""
        self.sweep()
        with self._lock:
            busy = [session.address for session in self.held.values() if session.work]
            if len(busy) >= MOST_LIVE or busy.count(address) >= MOST_OF_ADDRESS:
                raise Refusal("The page watches as many cameras as it can. Come back in a few minutes.")
            if len(self.held) >= MOST_HELD:
                raise Refusal("The page holds as many sessions as it can. Come back in a few minutes.")
            name = secrets.token_urlsafe(16)
            if not self.held:
                threading.Thread(target=self._keep_sweeping, daemon=True).start()
            work = Background(Live(MicroExpressionPipeline.from_pretrained(model)))
            self.held[name] = Session(address, work)
        return name

    def get(self, name: object) -> Session:
        """Return a session; raise `Refusal` where it is over."""
        session = self.held.get(name) if isinstance(name, str) else None
        if session is None:
            raise Refusal("This session is over. Start the camera again.")
        session.seen_s = time.monotonic()
        return session

    def sweep(self) -> None:
        """End the sessions whose visitor has left, and forget old ones."""
        now_s = time.monotonic()
        for name, session in list(self.held.items()):
            if now_s - session.seen_s > IDLE_S or now_s - session.begun_s > LONGEST_S:
                session.end()
            if now_s - session.seen_s > KEEP_S:
                self.held.pop(name, None)

    def _keep_sweeping(self) -> None:
        while True:
            time.sleep(IDLE_S / 3)
            self.sweep()
            with self._lock:
                if not self.held:
                    return


SESSIONS = Sessions()


def build(models: list[str]) -> None:
    """Lay the tab out; its script calls `start`, `frames`, `stop` and `keep`."""

    @_refusing
    def start(model: object) -> dict:
        if model not in models:
            raise Refusal("The page does not have this network.")
        return {"session": SESSIONS.begin(model, visitor().address)}

    html = view.render("live.html", models=models, formats=FORMATS, most_minutes=round(LONGEST_S / 60))
    functions = [start, frames, stop, keep]
    gr.HTML(html, js_on_load=SCRIPT, server_functions=functions, elem_id="live", padding=False)


def _refusing(function: Callable[[object], dict]) -> Callable[[object], dict]:
    """Let a function of the script answer with the reason where it refuses."""

    @wraps(function)
    def answer(data: object) -> dict:
        try:
            with one_line():
                return function(data)
        except Refusal as refusal:
            return {"error": str(refusal)}

    return answer


@_refusing
def frames(data: object) -> dict:
    """Take `{"session": name, "frames": [[seconds, base64], ...]}`; return what is new."""
    session = SESSIONS.get(_part(data, "session", str))
    pictures = _part(data, "frames", list)
    if len(pictures) > MOST_PICTURES:
        raise Refusal(f"At most {MOST_PICTURES} pictures are taken at once.")
    for each in pictures:
        image, time_s = _decoded(each)
        with session.lock:
            if session.work is None:
                raise Refusal(f"A session lasts {LONGEST_S / 60:.0f} minutes at most. Start again.")
            session.work.offer(image, time_s)
    with session.lock:
        return _news(session.work.news(), session.work) if session.work else {}


@_refusing
def stop(data: object) -> dict:
    """End a session; return the last news."""
    session = SESSIONS.get(_part(data, "session", str))
    work = session.work
    return _news(session.end(), work) if work else {}


@_refusing
def keep(data: object) -> dict:
    """Return what was found in a session as the text of a file, which the browser saves."""
    session, kind = SESSIONS.get(_part(data, "session", str)), _part(data, "format", str)
    if kind not in FORMATS:
        raise Refusal(f"The formats are {', '.join(FORMATS)}.")
    with session.lock:
        found = session.found if session.work is None else session.work.live.result()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"live{SUFFIXES[kind]}"
        WRITERS[kind](path, Coding.of(found, "live"))
        return {"name": path.name, "text": path.read_text()}


def _part(data: object, name: str, kind: type):
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, kind):
        raise Refusal("The page does not take this call.")
    return value


def _decoded(each: object) -> tuple[np.ndarray, float]:
    """Return a picture of the camera and its time; one that is too large is refused before it is decoded."""
    try:
        time_s, text = each
        time_s = float(time_s)
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["JPEG"])
        if max(picture.size) <= MOST_SIDE and 0 <= time_s < math.inf:
            return np.asarray(picture.convert("RGB")), time_s
    except Exception as error:  # Pillow raises exceptions of every kind
        raise Refusal("A picture of the camera could not be read.") from error
    raise Refusal(f"A picture of the camera has more than {MOST_SIDE} pixels on a side.")


def _news(updates: list[Update], work: Background) -> dict:
    """Return what is new as values that JSON has."""
    pace = work.pace
    return {
        "taken": pace.taken,
        "dropped": pace.dropped,
        "every": pace.every,
        "behind_s": round(work.behind_s, 2),
        "face": updates[-1].face if updates else None,
        "threshold": round(updates[-1].threshold, 3) if updates else None,
        "curve": [
            [round(float(time_s), 3), None if math.isnan(value) else round(float(value), 3)]
            for update in updates
            for time_s, value in zip(update.curve_s, update.curve, strict=True)
        ],
        "events": [_shown(event) for update in updates for event in update.events],
    }


def _shown(event: LiveEvent) -> dict:
    """Return a movement and, of an expression, its replay."""
    one = event.interval
    sign = view.SIGNS[one.outcome]
    replay = _replay(event) if one.outcome in REPORTED else None
    return one.to_dict() | {"kind": sign[0], "title": view.TITLES[one.outcome], "replay": replay}


def _replay(event: LiveEvent) -> str:
    """Draw the aligned face over the movement, slowed, as an address that holds the animation itself."""
    steps_ms = 1000 * SLOWED * np.diff(event.faces_s, append=event.faces_s[-1] + 0.2)
    first, *others = map(Image.fromarray, event.faces)
    file = io.BytesIO()
    options = {"duration": np.maximum(steps_ms, 1).round().astype(int).tolist(), "quality": 70, "method": 0}
    first.save(file, "WEBP", save_all=True, append_images=others, loop=0, **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
