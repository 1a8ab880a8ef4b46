"""A headless Chromium for tests of pages: one for the session, as good as new for each test.

It reaches this machine and nothing else: a page that asks anybody else's server for anything does not work in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from harness.process import ProcessContainer, free_port
from harness.servers import missing
from harness.waiting import wait

__all__ = ("Browser", "browser", "chromium", "launch")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which does not work for root in a container
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # By a pipe: it ends with its driver, whatever becomes of that.
    "--remote-debugging-pipe",
)
_DESKTOP = (1200, 800)


def executable() -> str | None:
    """Return the browser, if it and its driver are installed."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return found if shutil.which("chromedriver") else None


def launch(directory: Path) -> Browser:
    """Start a browser. Where none is installed: a failure in CI, a skip elsewhere."""
    if executable() is None:
        missing("chromium (with chromium-driver)")
    return Browser(directory)


class _Driver(ProcessContainer):
    """The process between the tests and the browser."""

    ready_prompt = "started successfully"

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        super().__init__("chromedriver", [shutil.which("chromedriver") or "", f"--port={self.port}"], directory)


class Browser:
    """What a person does and sees.

    Attributes:
        driver: Selenium's, for what is not here.
    """

    def __init__(self, directory: Path) -> None:
        found = executable()
        assert found, "no Chromium: launch() asks before"
        self._process = _Driver(directory)
        options = webdriver.ChromeOptions()
        options.binary_location = found
        for word in (*_OPTIONS, f"--user-data-dir={directory / 'profile'}"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            self._process.start()
            self._process.ready()
            connection = ChromeRemoteConnection(f"http://127.0.0.1:{self._process.port}", ignore_proxy=True)
            self.driver = webdriver.Remote(command_executor=connection, options=options)
            self.driver.set_page_load_timeout(30)
        except BaseException:
            self._process.teardown()
            raise

    def renew(self) -> None:
        """Forget what the last test did: cookies, sizes, colours, and what the console said."""
        self.driver.get("about:blank")
        self.devtools("Network.clearBrowserCookies")
        self.devtools("Emulation.clearDeviceMetricsOverride")
        self.colours("light")
        self.size(*_DESKTOP)
        self.console()

    def alive(self) -> bool:
        """Whether it still answers."""
        try:
            return bool(self.driver.window_handles)
        except WebDriverException:
            return False

    def close(self) -> None:
        """End it, and everything that it started."""
        try:
            self.driver.quit()
        except Exception:  # it has ended by itself
            pass
        finally:
            self._process.teardown()

    # -- look

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.driver.get(url)

    def find(self, css: str) -> WebElement:
        """Return the first element of a selector, as soon as there is one."""
        return wait(lambda: self.all(css), what=lambda: f"{css} is on the page: {self.text()}")[0]

    def all(self, css: str) -> list[WebElement]:
        """Return every element of a selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str = "body") -> str:
        """Return what can be read of an element; empty if there is none. One step, so that it cannot vanish between."""
        return str(self.script("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def wait_text(self, wanted: str, css: str = "body", timeout: float = 15) -> None:
        """Wait until an element says something."""
        wait(lambda: wanted in self.text(css), timeout, lambda: f"{css} says {wanted!r}; it says {self.text(css)!r}")

    def script(self, source: str, *arguments: Any) -> Any:
        """Run a script in the page and return its value."""
        return self.driver.execute_script(source, *arguments)

    def console(self) -> list[str]:
        """Return what the console complained of since the last call: errors of scripts, refused by a policy, 404s."""
        entries = self.driver.execute("getLog", {"type": "browser"})["value"]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        path.write_bytes(self.driver.get_screenshot_as_png())

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window: 0 where nothing scrolls sideways."""
        return int(self.script("const root = document.documentElement; return root.scrollWidth - root.clientWidth"))

    # -- do

    def press(self, *keys: str) -> None:
        """Press keys one after another, wherever the focus is: see ``selenium.webdriver.Keys``."""
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def focused(self) -> WebElement:
        """Return what has the focus."""
        return self.driver.switch_to.active_element

    # -- be another machine

    def size(self, width: int, height: int, zoom: float = 1, mobile: bool = False) -> None:
        """Be a screen of so many pixels; at a zoom of 2 a page has half of them."""
        metrics = {"width": round(width / zoom), "height": round(height / zoom), "deviceScaleFactor": zoom}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics, mobile=mobile)
        # What is measured next is measured on this screen.
        drawn = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        self.driver.execute_async_script(drawn)

    def phone(self) -> None:
        """Be a narrow phone."""
        self.size(375, 667, mobile=True)

    def colours(self, scheme: str) -> None:
        """Prefer ``"light"`` or ``"dark"``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def devtools(self, command: str, **params: Any) -> Any:
        """Call a command of the DevTools protocol."""
        return self.driver.execute("executeCdpCommand", {"cmd": command, "params": params})["value"]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Browser]]:
    """The browser of the session, started by the first test that wants it."""
    started: list[Browser] = []
    yield started
    for each in started:
        each.close()


@pytest.fixture
def browser(chromium: list[Browser], tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A browser that has been nowhere yet."""
    if chromium and not chromium[-1].alive():
        chromium.pop().close()
    if not chromium:
        chromium.append(launch(tmp_path_factory.mktemp("chromium")))
    chromium[-1].renew()
    return chromium[-1]
