"""Each redirect, and each address that its host resolves to, is checked like the first one."""

import errno
import socket

import pytest
from fetching_testing import Fetcher, Handler, Names, OpenSite, Site

BODY = b"x" * 1000


def to(location: str, status: int = 302) -> Handler:
    """Redirect."""
    return lambda x: x.reply(b"moved", status, Location=location)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(site: Site, fetch: Fetcher, status: int) -> None:
    site.on("/b/v.mp4", lambda x: x.reply(BODY))
    done = fetch(site.on("/a/start", to("../b/v.mp4", status)))
    assert (done.size_bytes, done.hosts) == (1000, ("127.0.0.1", "127.0.0.1"))


def test_redirect_without_a_target(site: Site, fetch: Fetcher) -> None:
    assert fetch.fails(site.on("/v.mp4", lambda x: x.reply(b"", 302))).code == "source_refused"


def test_redirect_to_another_host(site: Site, fetch: Fetcher, names: Names) -> None:
    names.answers = {"first.example": [["127.0.0.1"]], "second.example": [["127.0.0.1"]]}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    site.on("/start", to(site.url("/v.mp4", "second.example")))
    fetch.allow_hosts |= {"first.example", "second.example"}
    assert fetch(site.url("/start", "first.example")).hosts == ("first.example", "second.example")
    assert [request.headers["host"] for request in site.requests] == [
        f"first.example:{site.port}",
        f"second.example:{site.port}",
    ]


def test_non_ascii_target(site: Site, fetch: Fetcher) -> None:
    site.on("/%C3%BC%20x.mp4", lambda x: x.reply(BODY))
    assert fetch(site.on("/start", to("/ü x.mp4"))).size_bytes == 1000


def test_as_many_redirects_as_allowed(site: Site, fetch: Fetcher) -> None:
    for number in range(10):
        site.on(f"/{number}", to(f"/{number + 1}"))
    site.on("/10", lambda x: x.reply(BODY))
    assert fetch(site.url("/0")).size_bytes == 1000
    assert fetch.fails(site.url("/0"), max_redirects=9).code == "too_many_redirects"
    assert fetch.fails(site.url("/0"), max_redirects=0).code == "too_many_redirects"


def test_redirect_to_a_long_signed_url(site: Site, fetch: Fetcher) -> None:
    """Stores answer with addresses that hold a whole session token."""
    signed = "/signed.mp4?X-Amz-Security-Token=" + "a" * 6000
    site.on("/signed.mp4", lambda x: x.reply(BODY))
    assert fetch(site.on("/start", to(signed))).size_bytes == len(BODY)
    assert site.requests[-1].path == signed


def test_redirect_with_its_target_twice(site: Site, fetch: Fetcher) -> None:
    """A proxy and the server behind it set the same header."""
    site.on("/v.mp4", lambda x: x.reply(BODY))
    twice = "/v.mp4\r\nLocation: /v.mp4"
    assert fetch(site.on("/start", to(twice))).size_bytes == len(BODY)


def test_redirect_loop(site: Site, fetch: Fetcher) -> None:
    assert fetch.fails(site.on("/loop", to("/loop"))).code == "too_many_redirects"
    assert len(site.requests) == 11


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/computeMetadata/v1/", "url_private_address"),
        ("http://0x7f.1/", "url_private_address"),
        ("//localhost/", "url_private_address"),
        ("http://[::1]/", "url_private_address"),
        ("http://metadata.google.internal/", "url_private_address"),
        ("file:///etc/passwd", "url_scheme_not_allowed"),
        ("ftp://example.com/", "url_scheme_not_allowed"),
        ("data:video/mp4,x", "url_scheme_not_allowed"),
        ("http://me:secret@example.com/", "url_credentials_not_allowed"),
        ("http://example.com:22/", "url_port_not_allowed"),
        ("http://[zz/", "url_invalid"),
        ("/" + "a" * 9000, "url_too_long"),
    ],
)
def test_redirect_to_a_refused_url(
    site: Site, fetch: Fetcher, names: Names, location: str, code: str
) -> None:
    failure = fetch.fails(site.on("/start", to(location)))
    assert (failure.code, failure.retryable) == (code, False)
    assert "secret" not in str(failure)
    assert len(site.requests) == 1
    assert names.resolved == []


def test_redirect_to_another_port_of_an_allowed_host(
    site: Site, other_site: Site, fetch: Fetcher
) -> None:
    assert fetch.fails(site.on("/start", to(other_site.url("/")))).code == "url_private_address"
    assert other_site.accepted == 0


def test_name_of_a_private_address(other_site: Site, fetch: Fetcher, names: Names) -> None:
    names.answers = {"evil.example": [[other_site.address]]}
    failure = fetch.fails("http://evil.example/v.mp4?token=secret")
    assert (failure.code, failure.retryable) == ("url_private_address", False)
    assert "evil.example" in str(failure)
    assert names.resolved == ["evil.example"]
    assert other_site.accepted == 0


def test_redirect_to_a_name_of_a_private_address(site: Site, fetch: Fetcher, names: Names) -> None:
    names.answers = {"evil.example": [["10.0.0.1"]]}
    assert (
        fetch.fails(site.on("/start", to("https://evil.example/v.mp4"))).code
        == "url_private_address"
    )


@pytest.mark.parametrize(
    "addresses",
    [
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["2606:4700::1111", "8.8.8.8", "::ffff:127.0.0.1"],
        ["8.8.8.8", "64:ff9b::a9fe:a9fe"],
    ],
)
def test_one_private_answer_among_public_ones(
    site: Site, fetch: Fetcher, names: Names, addresses: list[str]
) -> None:
    """No connection is made, not even to the public addresses."""
    names.answers = {"mixed.example": [addresses]}
    assert fetch.fails("http://mixed.example/v.mp4").code == "url_private_address"
    assert names.resolved == ["mixed.example"]
    assert site.accepted == 0


def test_rebinding_within_an_attempt(
    site: Site, other_site: Site, fetch: Fetcher, names: Names
) -> None:
    """The second answer is a private address; the resolver is not called again."""
    names.answers = {"rebind.example": [[site.address], [other_site.address]]}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch("http://rebind.example/v.mp4").hosts == ("rebind.example",)
    assert names.resolved == ["rebind.example"]
    assert site.requests[0].headers["host"] == "rebind.example"
    assert other_site.accepted == 0


def test_rebinding_between_attempts(
    site: Site, other_site: Site, fetch: Fetcher, names: Names
) -> None:
    """Each attempt looks the name up once, and checks what it then connects to."""
    names.answers = {"rebind.example": [[site.address], [other_site.address]]}
    site.on("/v.mp4", lambda x: x.reset())
    assert fetch.fails("http://rebind.example/v.mp4").code == "url_private_address"
    assert names.resolved == ["rebind.example", "rebind.example"]
    assert other_site.accepted == 0


def test_rebinding_between_redirects(
    site: Site, other_site: Site, fetch: Fetcher, names: Names
) -> None:
    names.answers = {"rebind.example": [[site.address], [other_site.address]]}
    site.on("/v.mp4", to("/again.mp4"))
    assert fetch.fails("http://rebind.example/v.mp4").code == "url_private_address"
    assert other_site.accepted == 0


def test_the_next_answer_is_tried_when_one_does_not_connect(
    site: Site, fetch: Fetcher, names: Names
) -> None:
    names.answers = {"two.example": [["127.0.0.3:1", site.address]]}
    fetch.allow_hosts |= {"127.0.0.3"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch("http://two.example/v.mp4").size_bytes == 1000
    assert names.resolved == ["two.example"]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
        (socket.gaierror(socket.EAI_AGAIN, "no answer"), True),
        (socket.gaierror(socket.EAI_FAIL, "the name server refuses"), True),
        (socket.gaierror(socket.EAI_MEMORY, "out of memory"), True),
        (OSError(errno.EMFILE, "too many open files"), True),  # EAI_SYSTEM: this machine's fault
        (OSError(errno.ETIMEDOUT, "timed out"), True),  # a TimeoutError, as a wait's own
        (UnicodeError("label too long"), False),
    ],
)
def test_unknown_name(fetch: Fetcher, names: Names, error: Exception, retryable: bool) -> None:
    names.answers = {"nowhere.example": [error]}
    failure = fetch.fails("http://nowhere.example/v.mp4")
    assert (failure.code, failure.retryable) == ("source_name_unknown", retryable)
    assert "nowhere.example" in str(failure)


def test_temporary_resolver_failure_is_retried(site: Site, fetch: Fetcher, names: Names) -> None:
    names.answers = {
        "hiccup.example": [socket.gaierror(socket.EAI_AGAIN, "no answer"), [site.address]]
    }
    site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch("http://hiccup.example/v.mp4").size_bytes == 1000


def test_ipv6(open_site: OpenSite, fetch: Fetcher) -> None:
    site = open_site(host="::1")
    fetch.allow_hosts = {site.address}
    assert fetch(site.on("/v.mp4", lambda x: x.reply(BODY))).hosts == ("::1",)


def test_international_name(site: Site, fetch: Fetcher, names: Names) -> None:
    names.answers = {"xn--bcher-kva.example": [[site.address]]}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    assert fetch("http://bücher.example/v.mp4").hosts == ("xn--bcher-kva.example",)


@pytest.mark.parametrize(
    "url", ["ftp://example.com/v.mp4", "http://127.0.0.1/", "http://a:b@example.com/"]
)
def test_first_url_is_checked(fetch: Fetcher, names: Names, url: str) -> None:
    assert fetch.fails(url).code.startswith("url_")
    assert names.resolved == []


def test_name_of_a_denied_address(
    site: Site, other_site: Site, fetch: Fetcher, names: Names
) -> None:
    """Denied addresses are refused although the host is allowed."""
    names.answers = {"inner.example": [[other_site.address]]}
    fetch.allow_hosts |= {"inner.example", other_site.address}
    fetch.deny_hosts = {"127.0.0.0/8"}
    assert fetch.fails("http://inner.example/v.mp4").code == "url_host_not_allowed"
    assert (site.accepted, other_site.accepted) == (0, 0)


def test_redirect_to_a_denied_host(
    site: Site, other_site: Site, fetch: Fetcher, names: Names
) -> None:
    names.answers = {"cdn.denied.example": [[other_site.address]]}
    fetch.allow_hosts |= {other_site.address}
    fetch.deny_hosts = {"denied.example"}
    url = site.on("/start", to("http://cdn.denied.example/v.mp4"))
    assert fetch.fails(url).code == "url_host_not_allowed"
    assert other_site.accepted == 0
