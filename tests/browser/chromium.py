"""Debian's Chromium, headless, and what a user does in a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")

BROWSER, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
TIMEOUT = 60.0  # seconds
# a page that draws itself anew takes its elements away
NOT_YET = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
HAS_CANVAS = """
const isDrawn = (element) => element.tagName === "CANVAS" && element.width > 0;
const has = (root) => [...root.querySelectorAll("*")].some(
    (element) => isDrawn(element) || (element.shadowRoot && has(element.shadowRoot)));
return has(document);
"""
HAS_TASKS = """
const models = Bokeh.documents.flatMap((document) => [...document.all_models]);
const tasksOf = (model) => model.type === "ColumnDataSource" ? model.data.worker_thread ?? [] : [];
return models.some((model) => tasksOf(model).length >= arguments[0]);
"""


class Page:
    """What stands in the browser's window, looked at and used as a user does.

    Elements are named by XPath, and waited for.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def until(self, condition: Callable[[], T], what: str) -> T:
        """What `condition` answers once that is true."""
        wait = WebDriverWait(self.driver, TIMEOUT, poll_frequency=0.1, ignored_exceptions=NOT_YET)
        return wait.until(lambda _: condition(), f"{what}, in {self.driver.current_url}")

    def find(self, path: str) -> WebElement:
        """The visible element there."""

        def visible() -> WebElement | None:
            found = self.driver.find_elements(By.XPATH, path)
            return next((element for element in found if element.is_displayed()), None)

        found = self.until(visible, f"{path} is there")
        assert found is not None
        return found

    def click(self, path: str) -> None:
        """Click what is there."""

        def clicked() -> bool:
            self.find(path).click()
            return True

        self.until(clicked, f"{path} can be clicked")

    def write(self, path: str, text: str) -> None:
        """Write into a field, in the place of what stands there."""

        def written() -> bool:
            field = self.find(path)
            field.click()
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(text)
            return field.get_property("value") == text

        self.until(written, f"{path} holds {text}")

    def drag(self, path: str, right: int) -> None:
        """Draw what is there so many pixels to the right."""

        def drawn() -> bool:
            ActionChains(self.driver).drag_and_drop_by_offset(self.find(path), right, 0).perform()
            return True

        self.until(drawn, f"{path} can be drawn")

    def text(self, path: str) -> str:
        """The text of what is there."""
        return str(self.until(lambda: (self.find(path).text, True), f"{path} has a text")[0])

    def until_text(self, path: str, words: str) -> None:
        """Until what is there has these words."""
        self.until(lambda: words in self.find(path).text, f"{path} says {words!r}")

    def until_gone(self, path: str) -> None:
        """Until nothing is there."""
        self.until(lambda: not self.driver.find_elements(By.XPATH, path), f"{path} is gone")

    def within(self, frame: str, do: Callable[[], None]) -> None:
        """Do something in the page that a frame shows."""
        self.driver.switch_to.frame(self.find(frame))
        try:
            do()
        finally:
            self.driver.switch_to.default_content()

    def until_plot(self) -> None:
        """Until Bokeh has drawn a plot: its elements hide in shadow roots, which XPath does not enter."""
        self.until(lambda: self.driver.execute_script(HAS_CANVAS), "a plot is drawn")

    def until_tasks(self, n: int) -> None:
        """Until a plot of Dask's task stream was sent so many tasks."""
        self.until(lambda: self.driver.execute_script(HAS_TASKS, n), f"the task stream has {n} tasks")

    def complaints(self) -> str:
        """What the page's scripts complained of."""
        return "\n".join(str(entry["message"]) for entry in self.driver.get_log("browser"))

    def picture(self, file: Path, path: str | None = None) -> None:
        """Make a PNG of the window, or of what is there."""
        data = self.driver.get_screenshot_as_png() if path is None else self.find(path).screenshot_as_png
        file.write_bytes(data)


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A browser without a history; it ends with the block."""
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    env: dict[str, Any] = {**os.environ, "HOME": str(folder)}
    service = ChromeService(str(DRIVER), env=env, log_output=str(folder / "chromedriver.log"))
    driver = Chrome(options=options, service=service)
    try:
        yield Page(driver)
    finally:
        driver.quit()
