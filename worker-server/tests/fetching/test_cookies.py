"""Cookies last for one download and go only where their Domain, Path and Secure allow."""

import pytest
from fetching_testing import Exchange, Fetcher, Handler, Names, OpenSite, Site
from urllib3._collections import HTTPHeaderDict
from urllib3.response import HTTPResponse

from worker_server.fetching.addresses import EgressRules
from worker_server.fetching.cookies import Cookies
from worker_server.fetching.urls import parse_http_url

BODY = b"x" * 1000


def to(location: str, *cookies: str) -> Handler:
    """Redirect, and set cookies."""
    lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in cookies)
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n{lines}Content-Length: 0\r\n\r\n"
    return lambda x: x.send(head.encode())


def needs_cookie(x: Exchange) -> None:
    """Answer as a share does: the file with the cookie, a refusal without it."""
    if x.headers.get("cookie") == "FedAuth=abc":
        x.reply(BODY)
    else:
        x.reply(b"", 403)


def test_cookie_of_a_redirect_is_sent_to_its_target(site: Site, fetch: Fetcher) -> None:
    site.on("/v.mp4", needs_cookie)
    url = site.on("/start", to("/v.mp4", "FedAuth=abc; Path=/; HttpOnly; SameSite=None"))
    assert fetch(url).size_bytes == 1000
    assert "cookie" not in site.requests[0].headers


@pytest.mark.parametrize(
    "attribute",
    ["Domain=", "domain", "Domain = ;", 'Max-Age="60"', "max-age=1h", "Max-Age=", "Version=x"],
)
def test_attribute_that_browsers_ignore_does_not_lose_the_cookie(
    site: Site, fetch: Fetcher, attribute: str
) -> None:
    """RFC 6265, sections 5.2 to 5.2.3: it counts as not sent."""
    site.on("/v.mp4", needs_cookie)
    url = site.on("/start", to("/v.mp4", f"FedAuth=abc; {attribute}; Path=/; HttpOnly"))
    assert fetch(url).size_bytes == 1000


def test_redirect_to_itself_with_a_cookie(site: Site, fetch: Fetcher) -> None:
    assert fetch(site.on("/v.mp4", to("/v.mp4", "FedAuth=abc"), needs_cookie)).size_bytes == 1000


def test_cookie_is_sent_again_when_resuming(site: Site, fetch: Fetcher) -> None:
    def breaks(x: Exchange) -> None:
        x.head(Content_Length=len(BODY), ETag='"1"', Set_Cookie="FedAuth=abc")
        x.send(BODY[:400])

    rest = lambda x: x.reply(BODY[400:], 206, Content_Range="bytes 400-999/1000", ETag='"1"')
    assert fetch(site.on("/v.mp4", breaks, rest)).resumed == 1
    assert site.requests[1].headers["cookie"] == "FedAuth=abc"


def test_cookie_lasts_for_one_download(site: Site, fetch: Fetcher) -> None:
    url = site.on("/v.mp4", lambda x: x.reply(BODY, Set_Cookie="id=1; Max-Age=1000"))
    fetch(url)
    fetch(url)
    assert "cookie" not in site.requests[1].headers


@pytest.mark.parametrize(
    "cookie", ["id=1", "id=1; Domain=two.example", "id=1; Domain=.example", "id=1; Domain=example"]
)
def test_cookie_never_goes_to_another_host(
    site: Site, fetch: Fetcher, names: Names, cookie: str
) -> None:
    names.answers = {"one.example": [["127.0.0.1"]], "two.example": [["127.0.0.1"]]}
    fetch.allow_hosts |= {"one.example", "two.example"}
    site.on("/v.mp4", lambda x: x.reply(BODY))
    site.on("/start", to(site.url("/v.mp4", "two.example"), cookie))
    fetch(site.url("/start", "one.example"))
    assert "cookie" not in site.requests[1].headers


def test_cookie_never_goes_to_another_address(open_site: OpenSite, fetch: Fetcher) -> None:
    first, second = open_site(), open_site(host="127.0.0.2")
    fetch.allow_hosts = {first.address, second.address}
    second.on("/v.mp4", lambda x: x.reply(BODY))
    url = first.on(
        "/start", to(second.url("/v.mp4"), "a=1", "b=2; Domain=.0.0.2", "c=3; Domain=0.2")
    )
    fetch(url)
    assert "cookie" not in second.requests[0].headers


def sent(cookie: str, set_by: str, requested: str) -> bool:
    """Return whether a cookie that one URL set is sent to another one."""
    cookies, rules = Cookies(), EgressRules()
    response = HTTPResponse(headers=HTTPHeaderDict({"Set-Cookie": cookie}))
    cookies.store(parse_http_url(set_by, rules), response)
    return bool(cookies.header(parse_http_url(requested, rules)))


@pytest.mark.parametrize(
    ("cookie", "set_by", "requested", "goes"),
    [
        ("a=1", "http://a.example.com/x/y", "http://a.example.com/x/z", True),
        ("a=1", "http://a.example.com/x/y", "http://a.example.com/z", False),
        ("a=1", "http://a.example.com/", "http://b.a.example.com/", False),
        ("a=1; Domain=example.com", "http://a.example.com/", "http://b.example.com/", True),
        ("a=1; Domain=.Example.com", "http://a.example.com/", "http://example.com/", True),
        ("a=1; Domain=example.com", "http://a.example.com/", "http://anexample.com/", False),
        ("a=1; Domain=b.example.com", "http://a.example.com/", "http://b.example.com/", False),
        ("a=1; Domain=com", "http://a.example.com/", "http://b.example.com/", False),
        ("a=1; Domain=co.uk", "http://a.co.uk/", "http://b.co.uk/", False),
        ("a=1; Path=/x", "http://a.example.com/", "http://a.example.com/x/y", True),
        ("a=1; Path=/x", "http://a.example.com/", "http://a.example.com/xy", False),
        ("a=1; Secure", "https://a.example.com/", "https://a.example.com/", True),
        ("a=1; Secure", "https://a.example.com/", "http://a.example.com/", False),
        ("a=1; Max-Age=0", "http://a.example.com/", "http://a.example.com/", False),
        ("a=1; Max-Age=60", "http://a.example.com/", "http://a.example.com/", True),
        ("a=1", "http://[2606:4700::1]/", "http://[2606:4700::1]/", True),
        ("a=1", "http://[2606:4700::1]/", "http://[2606:4700::2]/", False),
        (f"a={'x' * 5000}", "http://a.example.com/", "http://a.example.com/", False),
        ("", "http://a.example.com/", "http://a.example.com/", False),
    ],
)
def test_where_a_cookie_goes(cookie: str, set_by: str, requested: str, goes: bool) -> None:
    assert sent(cookie, set_by, requested) is goes


def test_number_of_cookies_is_bounded() -> None:
    cookies = Cookies()
    url = parse_http_url("http://a.example.com/", EgressRules())
    for page in range(5):
        headers = HTTPHeaderDict()
        for number in range(90):
            headers.add("Set-Cookie", f"c{page}_{number}=1")
        cookies.store(url, HTTPResponse(headers=headers))
    assert cookies.header(url)["Cookie"].count("=") == 50
