"""A browser in front of a running system: BASE_URL and VIDEO_URL tell where it is, and a video."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from running_system import RunningSystem

PASSWORD = "Heron-over-42-Lakes"  # of the test's own accounts
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PICTURES = Path(os.environ.get("PICTURES", ".cache/page/pictures"))
_FIGURES: list[str] = []
NewVisitor = Callable[..., "Visitor"]


@dataclass
class Visitor:
    """A user at the page, and the errors that the browser has logged meanwhile."""

    page: Page
    context: BrowserContext
    base_url: str
    console_errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    email: str = ""

    def open(self, place: str = "") -> None:
        """Go to a place of the page, such as `tasks`."""
        self.page.goto(f"{self.base_url}/#/{place}")

    def sign_up(self) -> None:
        """Make an account, by the form."""
        unique = time.time_ns()
        self.email = f"a{unique}@example.com"
        self.open()
        self.page.locator("#tab-true").click()
        self.page.fill("#username", f"Ada {unique}")
        self.page.fill("#email", self.email)
        self.page.fill("#password", PASSWORD)
        self.page.locator("form button.primary").click()
        self.page.wait_for_selector("#links")

    def submit(self, url: str, **options: str) -> str:
        """Send a link by the form and return the task's id."""
        self.open("new")
        self.page.fill("#links", url)
        if options:
            self.page.locator("summary").click()
            for name, value in options.items():
                self.page.fill(f"#{name}", value)
        self.page.locator("form button.primary").click()
        self.page.wait_for_url("**/#/task/*")
        return self.page.url.rpartition("/")[2]

    def wait_true(self, expression: str) -> None:
        """Wait until an expression is true: the page's policy forbids Playwright's own way."""
        while not self.page.evaluate(expression):
            self.page.wait_for_timeout(50)

    def wait_done(self) -> None:
        """Wait until the shown task is done."""
        self.page.wait_for_selector(".title-row .status.done", timeout=120_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def base_url() -> str:
    return os.environ["BASE_URL"]


@pytest.fixture(scope="session")
def video_url() -> str:
    return os.environ["VIDEO_URL"]


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Lines that the test run prints at its end: what was measured."""
    return _FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _FIGURES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def system() -> RunningSystem:
    return RunningSystem.from_environment()


@pytest.fixture
def new_visitor(browser: Browser, base_url: str) -> Iterator[NewVisitor]:
    """Make visitors with a browser profile each; keyword arguments are Playwright's."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Visitor:
        size = {"width": 1280, "height": 800}
        settings: dict[str, object] = {"locale": "en-US", "viewport": size}
        context = browser.new_context(**{**settings, **options})  # type: ignore[arg-type]
        contexts.append(context)
        visitor = Visitor(context.new_page(), context, base_url)
        _watch(visitor)
        return visitor

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(new_visitor: NewVisitor) -> Visitor:
    """A visitor with an account."""
    visitor = new_visitor()
    visitor.sign_up()
    return visitor


def _watch(visitor: Visitor) -> None:
    page = visitor.page
    page.on("pageerror", lambda error: visitor.console_errors.append(f"error: {error}"))
    page.on("request", lambda request: visitor.hosts.add(request.url.split("/")[2]))

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visitor.console_errors.append(message.text)

    page.on("console", on_console)
    page.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (event) => console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI))"
    )
