"""Where the system under test is, who calls it, and what sources there are.

BASE_URL says where the system is. SOURCE_HOST is an address of this machine that the system can
reach and lists in its FETCH_ALLOW_HOSTS; SOURCE_PORT is a port there, else a free one is taken.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blackbox.client import Account, Api
from blackbox.contract import Contract

from idrl_testing import samples, site as web_site

_DOCUMENT = Path(__file__).parent.parent / "docs" / "openapi.yaml"
_CONTRACT = pytest.StashKey[Contract]()

SignUp = Callable[[], Api]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CONTRACT] = Contract(_DOCUMENT)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Report how much of the contract the run has covered."""
    contract = config.stash[_CONTRACT]
    calls = list(contract.operations())
    made = {(template, method) for template, method, _ in contract.seen}
    listed = sum(len(operation["responses"]) for _, _, operation in calls)
    terminalreporter.write_line(
        f"contract: {len(made)} of {len(calls)} calls made,"
        f" {len(contract.seen)} of {listed} listed answers seen"
    )


@pytest.fixture(scope="session")
def contract(request: pytest.FixtureRequest) -> Contract:
    """The document that every response is checked against."""
    return request.config.stash[_CONTRACT]


@pytest.fixture(scope="session")
def anonymous(contract: Contract) -> Api:
    """The API without a token."""
    return Api(os.environ.get("BASE_URL", "http://127.0.0.1:5050"), contract)


@pytest.fixture(scope="session")
def new_account() -> Callable[[], Account]:
    """Makes up accounts that do not exist yet."""
    return Account.new


@pytest.fixture(scope="session")
def sign_up(anonymous: Api, new_account: Callable[[], Account]) -> SignUp:
    """Signs a new person up, logs in, and returns the API as that person calls it."""

    def new_caller() -> Api:
        account = new_account()
        assert anonymous.post("/auth/signup", account.form()).status_code == 201
        answer = anonymous.post(
            "/auth/login", {"email": account.email, "password": account.password}
        )
        assert answer.status_code == 200
        return Api(anonymous.base_url, anonymous.contract, answer.json()["token"])

    return new_caller


@pytest.fixture(scope="session")
def api(sign_up: SignUp) -> Api:
    """The API for a logged-in account."""
    return sign_up()


@pytest.fixture(scope="session")
def site() -> Iterator[web_site.Site]:
    """A web site with sources, which the system under test takes for a third party's."""
    host = os.environ.get("SOURCE_HOST", "127.0.0.1")
    with web_site.serve(host, int(os.environ.get("SOURCE_PORT", "0"))) as running:
        yield running


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds with sound; its index comes first, as on the web."""
    target = tmp_path_factory.mktemp("short") / "short.mp4"
    return samples.encode(
        target,
        *samples.picture("320x180", 2),
        *samples.tone(2),
        *samples.FAST,
        "-movflags",
        "+faststart",
    )
