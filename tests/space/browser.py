"""Opens the page in a headless Chromium: for the test, and for the pictures in the README.

    python -m tests.space.browser docs

analyses a generated example with the bundled networks and writes demo.png, corrections.png and compare.png.
"""

import importlib.util
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

APP = Path(__file__).parents[2] / "space" / "app.py"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def load_app(name: str = "space_app") -> ModuleType:
    """Loads `space/app.py`, which is not in a package."""
    if str(APP.parent) not in sys.path:  # as Python does where app.py is what it runs
        sys.path.insert(0, str(APP.parent))
    spec = importlib.util.spec_from_file_location(name, APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(app: ModuleType, **arguments) -> Iterator[str]:
    """Serves the page of `build_demo(**arguments)` and gives its address."""
    demo = app.build_demo(**arguments)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **app.LAUNCH)
    try:
        yield url
    finally:
        # A thread that still writes a replay when Python ends takes the whole process down.
        deadline = time.monotonic() + 60
        while any(demo._queue.active_jobs) and time.monotonic() < deadline:
            time.sleep(0.1)
        demo.close(verbose=False)


def find_chromium() -> str | None:
    """The system's Chromium."""
    paths = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in paths if path), None)


@contextmanager
def opened(url: str, executable: str, *flags: str) -> Iterator:
    """A playwright page of 1366 x 768 on `url`; more flags are given to Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(60_000)
        page.goto(url)
        yield page
        browser.close()


def wait_for_answer(page, kind: str = "found") -> None:
    """Until a card of that kind, every picture and the replay are there."""
    page.locator(f".verdict.{kind}").first.wait_for()
    page.wait_for_function("document.querySelectorAll('#faces figure').length == 5")
    page.wait_for_function("document.querySelector('#replay video')?.readyState > 1")


def wait_for_comparison(page) -> None:
    """Until four columns are there."""
    page.wait_for_function("document.querySelectorAll('.columns section').length == 4")


def small(page, path: Path, **options) -> None:
    """A screenshot of 256 colours: a third of the bytes."""
    from PIL import Image

    page.screenshot(path=path, **options)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        path, optimize=True
    )


def main() -> None:
    """Writes the pictures of the README and of `interchange.md`, the latter without a face."""
    folder = Path(sys.argv[1])
    app = load_app()
    with app.open_folder(), served(app) as url, opened(url, find_chromium()) as page:
        page.get_by_role("button", name="positive", exact=True).click()
        wait_for_answer(page)
        page.wait_for_timeout(2500)  # the replay shows the magnified motion
        small(page, folder / "demo.png")
        page.set_viewport_size({"width": 1366, "height": 1100})
        page.get_by_role("button", name="Correct, save").click()
        page.get_by_label("Coder").first.fill("Ana")
        page.get_by_label("class").first.fill("surprise")
        page.get_by_label("class").first.blur()
        (top, bottom) = (page.locator(name).bounding_box() for name in ("#motion", "#coding"))
        height = bottom["y"] + bottom["height"] - top["y"]
        small(page, folder / "corrections.png", clip={**top, "height": height})
        page.set_viewport_size({"width": 1366, "height": 768})
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Take the clip").click()
        wait_for_comparison(page)
        page.wait_for_timeout(2500)
        small(page, folder / "compare.png")


if __name__ == "__main__":
    main()
