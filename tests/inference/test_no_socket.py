"""An analysis opens no socket: no face, and no word about one, leaves the machine."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sealed import SOCKET_CALL

pytestmark = pytest.mark.skipif(SOCKET_CALL is None, reason="only Linux can forbid sockets")

ANALYSIS = """
import sys
from mer_hf import MicroExpressionPipeline, read_clip
answer = MicroExpressionPipeline.from_pretrained(sys.argv[2])(read_clip(sys.argv[1]))
print(answer.outcome, answer.label)
"""
IN_PYTHON = "import socket; socket.create_connection(('127.0.0.1', 9))"
IN_NATIVE_CODE = """
import ctypes, threading
thread = threading.Thread(target=lambda: ctypes.CDLL(None).socket(2, 1, 0))
thread.start()
thread.join()
"""


def sealed(script: str, *arguments) -> subprocess.CompletedProcess:
    script = f"from tests.sealed import seal\nseal()\n{script}"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("stand_in", [IN_PYTHON, IN_NATIVE_CODE])
def test_a_library_that_sends_dies(stand_in):
    assert sealed(stand_in).returncode == -signal.SIGSYS


def test_an_analysis_opens_no_socket(example_file):
    done = sealed(ANALYSIS, example_file("positive"), "htnet-synthetic")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "micro_expression positive\n"
