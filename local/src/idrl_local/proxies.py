"""What runs on this machine is reached directly, whatever the environment says of other hosts."""

from collections.abc import MutableMapping

# A proxy could not reach this machine's loopback.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def exempt_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own addresses to those that go through no proxy.

    Programs read one of the two spellings, and many the small one first.
    """
    variables = ("no_proxy", "NO_PROXY")
    exempted = ",".join(environment.get(name, "") for name in variables).split(",")
    names = dict.fromkeys(filter(None, [*map(str.strip, exempted), *_LOOPBACK]))
    environment.update(dict.fromkeys(variables, ",".join(names)))


def remove_libpq_variables(environment: MutableMapping[str, str]) -> None:
    """Remove libpq's variables, such as PGSSLMODE: they are for another database than ours."""
    for name in [name for name in environment if name.startswith("PG")]:
        del environment[name]
