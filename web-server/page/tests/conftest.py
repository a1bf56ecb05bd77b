"""A browser in front of a running system: BASE_URL and VIDEO_URL tell where it is, and a video."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)
from running_system import RunningSystem

PASSWORD = "Heron-over-42-Lakes"  # of the test's own accounts
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# For what is waited for and never comes: nothing here is about speed, and machines are busy.
LIMIT_MS = 60_000
WORK_LIMIT_MS = 300_000  # for clips to be made
expect.set_options(timeout=LIMIT_MS)
ROWS_A_PAGE = 30
PICTURES = Path(os.environ.get("PICTURES", ".cache/page/pictures"))
# What the page stores at a log-in, stored once a tab: a log-out or a reload later is what it is.
LOGGED_IN = """if (location.protocol.startsWith('http'))
  sessionStorage.entered ||= localStorage.session = Date.now()"""
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

    def show(self, place: str) -> None:
        """Go to a place and wait until its screen is there, with what it has loaded."""
        section, _, is_one = place.partition("/")
        self.open(place)
        link = self.page.locator(f"nav a[href='#/{'tasks' if is_one else section}']")
        expect(link).to_have_attribute("aria-current", "page")
        self.page.wait_for_selector("main:not(:has([aria-busy=true])) h1")

    def show_rows(self, count: int) -> Locator:
        """Ask for more rows of the list until this many are shown, and return them."""
        rows = self.page.locator(".row")
        for shown in range(ROWS_A_PAGE, count, ROWS_A_PAGE):
            expect(rows).to_have_count(shown)
            self.page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(count)
        return rows

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

    def enter(self) -> None:
        """Make an account by the API, which takes half the time, and open the page logged in."""
        unique = time.time_ns()
        self.email = f"a{unique}@example.com"
        account = {"username": f"Ada {unique}", "email": self.email, "password": PASSWORD}
        self.post("auth/signup", {**account, "password_2": PASSWORD})
        self.log_in()
        self.page.add_init_script(LOGGED_IN)
        self.open()
        self.page.wait_for_selector("#links")

    def log_in(self) -> None:
        """Give the browser a new session of the account, by the API."""
        self.post("auth/login", {"email": self.email, "password": PASSWORD, "session": True})

    def post(self, path: str, body: dict[str, object]) -> None:
        """Make a call with the browser's session."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        answer = self.context.request.post(f"{self.base_url}/{path}", data=body, headers=headers)
        assert answer.ok, answer.text()

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

    def pause_clock(self) -> None:
        """Let the page's time pass by `clock.run_for` only, however slow the machine is."""
        # Ahead of what passes before it is paused: it cannot be paused at a time that is over.
        self.page.clock.pause_at(self.page.evaluate("Date.now() / 1000") + 10)  # in seconds

    def wait_true(self, expression: str) -> None:
        """Wait until an expression is true: the page's policy forbids Playwright's own way."""
        self.wait_until(lambda: self.page.evaluate(expression), expression)

    def wait_until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait, with the browser's events going on, until something is so."""
        deadline = time.monotonic() + WORK_LIMIT_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, f"it never came: {what or condition}"
            self.page.wait_for_timeout(50)

    def wait_done(self) -> None:
        """Wait until the shown task is done."""
        self.page.wait_for_selector(".title-row .status.done", timeout=WORK_LIMIT_MS)


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
        context = browser.new_context(**{**settings, **options})  # type: ignore[arg-type] # Playwright's
        context.set_default_timeout(LIMIT_MS)
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
    visitor.enter()
    return visitor


@pytest.fixture
def timed_visitor(new_visitor: NewVisitor) -> Visitor:
    """A visitor with an account, whose page has a clock that the test can move on."""
    visitor = new_visitor()
    visitor.page.clock.install()
    visitor.enter()
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


def lose_answer(route: Route) -> None:
    """Let the system have the call, and the browser no answer."""
    route.fetch(headers={**route.request.all_headers(), "sec-fetch-site": "same-origin"})
    route.abort()
