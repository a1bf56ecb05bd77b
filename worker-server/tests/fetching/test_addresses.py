"""Which addresses are public, and what the operator allows or denies besides."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from worker_server.fetching import is_public
from worker_server.fetching.addresses import EgressRules, literal_address

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "192.0.1.1",
    "100.128.0.1",
    "2606:4700::1111",
]
PUBLIC += ["2a00:1450:4001:80e::200e", "::ffff:8.8.8.8", "223.255.255.254"]

NOT_PUBLIC = {
    "this network": ["0.0.0.0", "0.1.2.3", "::"],  # noqa: S104 # nothing binds here
    "loopback": ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"],
    "private": [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "fc00::1",
        "fd00:ec2::254",
    ],
    "link-local and metadata": [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "fd20:ce::254",
    ],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255", "100.100.100.200"],
    "IETF protocol assignments": [
        "192.0.0.1",
        "192.0.0.8",
        "192.0.0.9",
        "192.0.0.170",
        "2001::1",
        "2001:2::1",
        "2001:4:112::1",
        "2001:20::1",
    ],
    "documentation": [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff::1",
    ],
    "benchmarks": ["198.18.0.1", "198.19.255.255"],
    "6to4 relay and 6to4": ["192.88.99.1", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved and broadcast": ["240.0.0.1", "255.255.255.255", "4000::1", "5f00::1", "e000::1"],
    "NAT64": ["64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a9fe:a9fe"],
    "IPv4-compatible and translated": ["::169.254.169.254", "::8.8.8.8", "::ffff:0:127.0.0.1"],
    "Teredo": ["2001:0:5ef5:79fb::1"],
    "site-local, discard-only": ["fec0::1", "feff::1", "100::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", [address for group in NOT_PUBLIC.values() for address in group])
def test_non_public_addresses(address: str) -> None:
    assert not is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_mapped_ipv4_is_treated_as_ipv4(address: IPv4Address) -> None:
    assert is_public(IPv6Address(f"::ffff:{address}")) == is_public(address)


@given(st.ip_addresses())
def test_public_address_is_always_global(address: IPv4Address | IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    assert not is_public(address) or (mapped or address).is_global


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "017700000001",
        "::ffff:7f00:1",
    ],
)
def test_literal_address_in_every_notation(text: str) -> None:
    assert literal_address(text) == ip_address("127.0.0.1")


@pytest.mark.parametrize("text", ["example.com", "1e100.net", "a", "127.0.0.1.example", ""])
def test_name_is_not_a_literal_address(text: str) -> None:
    assert literal_address(text) is None


@pytest.mark.parametrize(
    ("entry", "host", "port", "listed"),
    [
        ("media.lan", "media.lan", 80, True),
        ("media.lan", "MEDIA.lan.", 9000, True),
        ("media.lan:9000", "media.lan", 9000, True),
        ("media.lan:9000", "media.lan", 80, False),
        ("media.lan", "x.media.lan", 80, False),
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("10.0.0.5:81", "10.0.0.5", 80, False),
        ("10.0.0.5:81", "0xa000005", 81, True),
        ("::1", "::1", 80, True),
        ("[::1]:81", "0:0:0:0:0:0:0:1", 81, True),
        ("[::1]:81", "::1", 80, False),
    ],
)
def test_allowed_hosts(entry: str, host: str, port: int, listed: bool) -> None:
    assert EgressRules(allow=[entry]).allows(host, port) is listed


def test_empty_rules_allow_no_host() -> None:
    assert not EgressRules().allows("", 80)
    assert not EgressRules().allows("127.0.0.1", 80)


# The ranges of IANA's special-purpose registries (RFC 6890), first and last address:
# written out by hand, so that a change of Python's tables cannot open one of them unnoticed.
SPECIAL_NETWORKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",
    "::/96",
    "::1/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]


@pytest.mark.parametrize("text", SPECIAL_NETWORKS)
def test_special_network_is_not_public(text: str) -> None:
    network = ip_network(text)
    assert not is_public(network[0])
    assert not is_public(network[-1])
    if network.version == 4:
        assert not is_public(IPv6Address(f"::ffff:{network[-1]}"))


@pytest.mark.parametrize(
    ("entry", "host", "port", "denied"),
    [
        ("203.0.112.0/20", "203.0.115.7", 80, True),
        ("203.0.112.7/20", "203.0.115.7", 80, True),
        ("203.0.112.0/20", "203.0.128.1", 80, False),
        ("203.0.112.0/20", "videos.example", 80, False),
        ("203.0.112.0/20", "::ffff:203.0.115.7", 80, True),
        ("203.0.112.0/20", "0xcb007307", 80, True),
        ("2606:4700::/32", "2606:4700::1111", 443, True),
        ("2606:4700::/32", "8.8.8.8", 443, False),
        ("8.8.8.8", "8.8.8.8", 80, True),
        ("8.8.8.8:8080", "8.8.8.8", 80, False),
        ("8.8.8.8:8080", "8.8.8.8", 8080, True),
        ("[2606:4700::1111]:443", "2606:4700::1111", 443, True),
        ("evil.example", "evil.example", 80, True),
        ("evil.example", "EVIL.example.", 80, True),
        ("evil.example", "cdn.evil.example", 80, True),
        ("*.evil.example", "cdn.evil.example", 80, True),
        (".evil.example", "cdn.evil.example", 80, True),
        ("evil.example", "notevil.example", 80, False),
        ("evil.example", "evil.example.org", 80, False),
        ("evil.example:8080", "cdn.evil.example", 80, False),
    ],
)
def test_denied_hosts(entry: str, host: str, port: int, denied: bool) -> None:
    assert EgressRules(deny=[entry]).denies(host, port) is denied


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0.0/x", "example.com/", "host:port", ":80"])
def test_malformed_rule_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # the sentence is ipaddress's or ours
        EgressRules(deny=[entry])
