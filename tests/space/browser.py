"""Opens the page in a headless Chromium: for the test, and for the picture in the README.

    python -m tests.space.browser docs/demo.png

analyses a generated example with the bundled network and writes the picture.
"""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

APP = Path(__file__).parents[2] / "space" / "app.py"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def load_app(name: str = "space_app") -> ModuleType:
    """`space/app.py`, which is no package."""
    if str(APP.parent) not in sys.path:  # as Python does where app.py is what it runs
        sys.path.insert(0, str(APP.parent))
    spec = importlib.util.spec_from_file_location(name, APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(app: ModuleType) -> Iterator[str]:
    """The page's address while it is served."""
    demo = app.build_demo()
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **app.LAUNCH)
    try:
        yield url
    finally:
        demo.close(verbose=False)


def find_chromium() -> str | None:
    """The system's Chromium."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@contextmanager
def opened(url: str, executable: str) -> Iterator:
    """A playwright page of 1366 x 768 on `url`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, "--disable-sync"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.set_default_timeout(60_000)
        page.goto(url)
        yield page
        browser.close()


def wait_for_pictures(page) -> None:
    """Until the answer and all five pictures are there."""
    page.get_by_text("Micro-expression:").wait_for()
    page.wait_for_function("document.querySelectorAll('.picture img').length == 5")
    page.wait_for_function("[...document.querySelectorAll('.picture img')].every(i => i.naturalWidth > 100)")


def main() -> None:
    """Writes the picture."""
    with served(load_app()) as url, opened(url, find_chromium()) as page:
        page.get_by_role("button", name="positive", exact=True).click()
        wait_for_pictures(page)
        page.screenshot(path=sys.argv[1])


if __name__ == "__main__":
    main()
