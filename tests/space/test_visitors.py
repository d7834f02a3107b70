"""Shares and turns: nobody waits for one greedy visitor, and short work is not behind long work."""

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install mer-hf[space]")

from page import engine as engine_module
from page import visitors
from page.engine import Engine, Refusal
from page.visitors import MOST_OF_ADDRESS, MOST_OF_SESSION, Turns, Visitor, address_of
from starlette.datastructures import Address

from mer_hf.video.clip import write_clip
from tests.space.greedy import post
from tests.space.test_files import wait_until


@pytest.mark.parametrize(
    ("host", "owner"), [("10.0.0.1", "10.0.0.1"), ("2001:db8::1:2", "2001:db8::/64"), (None, "")]
)
def test_an_address_is_of_one_customer(host, owner):
    assert address_of(host and Address(host, 1)) == owner


class Work:
    """Pieces of work that are done when they are told to be, and the order in which they began."""

    def __init__(self, turns, monkeypatch):
        self.turns, self.began, self.ends = turns, [], {}
        self.now = threading.local()
        monkeypatch.setattr(visitors, "visitor", lambda: self.now.visitor)

    def start(self, name, visitor, is_long=False):
        """Ask for a turn in a thread of its own; return once it waits or has begun."""
        self.ends[name] = threading.Event()
        before = len(self.turns._waiting) + len(self.began)

        def run():
            self.now.visitor = visitor
            with self.turns.turn(is_long):
                self.began.append(name)
                self.ends[name].wait(20)

        threading.Thread(target=run, daemon=True).start()
        assert wait_until(lambda: len(self.turns._waiting) + len(self.began) > before)

    def end(self, name, began):
        self.ends[name].set()
        assert wait_until(lambda: len(self.began) == began)


def test_turns_go_to_whom_had_theirs_longest_ago(monkeypatch):
    work = Work(Turns(1), monkeypatch)
    for at in range(3):
        work.start(f"greedy {at}", Visitor("here", "greedy"))
    work.start("same address", Visitor("here", "other"))
    work.start("other address", Visitor("there", "x"))
    for began, name in enumerate(("greedy 0", "other address", "same address", "greedy 1", "greedy 2"), 1):
        assert work.began[-1] == name
        work.end(name, min(began + 1, 5))


def test_long_work_leaves_a_place_to_short_work(monkeypatch):
    work = Work(Turns(2), monkeypatch)
    for name in ("long 1", "long 2", "short 1", "short 2"):
        work.start(name, Visitor(name, ""), name.startswith("long"))
    assert work.began == ["long 1", "short 1"]
    work.end("short 1", 3)
    assert work.began[-1] == "short 2"
    work.end("long 1", 4)
    assert work.began[-1] == "long 2"


def test_an_error_gives_the_turn_back():
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns.turn():
        1 / 0  # noqa: B018
    with turns.turn():
        pass


@contextmanager
def held(monkeypatch):
    """Tracking of long clips that ends with the block."""
    go_on, track = threading.Event(), engine_module.track_face

    def wait(clip, *rest):
        if len(clip.frames) > 150:
            go_on.wait(20)
        return track(clip, *rest)

    monkeypatch.setattr(engine_module, "track_face", wait)
    try:
        yield
    finally:
        go_on.set()


def test_clips_that_are_known_or_short_do_not_wait_for_long_ones(engine, faceless, tmp_path, monkeypatch):
    ours = Engine("cpu")
    ours.networks = engine.networks
    gray = np.full((160, 32, 32, 3), 90, np.uint8)
    longs = [tmp_path / f"long {at}.mp4" for at in range(3)]
    for at, path in enumerate(longs):
        write_clip(path, gray + np.uint8(at), 30)
    with ThreadPoolExecutor(3) as pool, held(monkeypatch):
        waiting = [pool.submit(ours.analyse, path, "htnet") for path in longs]
        time.sleep(0.2)
        with pytest.raises(Refusal, match="no face was found"):  # read and tracked, beside the long ones
            ours.analyse(faceless, "htnet")
        assert not any(future.done() for future in waiting)
    assert all(isinstance(future.exception(), Refusal) for future in waiting)


@pytest.fixture
def blocked(engine, monkeypatch):
    """The page's engine answers when this event is set."""
    go_on = threading.Event()

    def wait(*_, **__):
        go_on.wait(60)
        raise Refusal("at last")

    monkeypatch.setattr(engine, "analyse", wait)
    yield go_on
    go_on.set()


def join(address, session, headers=None):
    """Return whether a request came into the queue, or why not."""
    config = json.load(urllib.request.urlopen(f"{address}/config"))
    index = next(each["id"] for each in config["dependencies"] if each["api_name"] == "analyse")
    call = {"data": [None, "htnet"], "fn_index": index, "session_hash": session}
    return post(f"{address}/gradio_api/queue/join", json.dumps(call).encode(), headers=headers)


def test_one_visitor_does_not_fill_the_queue(url, blocked):
    address = url.rstrip("/")
    greedy = [join(address, "greedy") for _ in range(66)]
    assert sum("event_id" in said for said in greedy) == MOST_OF_SESSION
    assert "queue is full for this visitor: 8 requests wait" in greedy[-1]
    assert "event_id" in join(address, "polite")
    crowd = [join(address, f"crowd {at}") for at in range(MOST_OF_ADDRESS)]
    assert "queue is full for this address" in crowd[-1]
    assert "event_id" in join(address, "far", {"X-Forwarded-For": "203.0.113.7"})
    blocked.set()
    assert wait_until(lambda: "event_id" in join(address, "greedy"))


def test_calls_without_a_session_are_one_visitor(url, blocked):
    call = json.dumps({"data": [None, "htnet"]}).encode()
    said = [post(f"{url}gradio_api/call/analyse", call) for _ in range(MOST_OF_SESSION + 1)]
    assert ["event_id" in each for each in said] == [True] * MOST_OF_SESSION + [False]
