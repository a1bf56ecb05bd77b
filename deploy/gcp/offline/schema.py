"""What a provider says about its resources: the attributes and blocks that each takes and gives."""

from dataclasses import dataclass, field
from typing import Any

# A type as Terraform writes it in JSON:
# "string", ["list", "string"], ["object", {"name": "string"}].
Type = Any


@dataclass(frozen=True)
class Attribute:
    """One argument or result.

    `computed` ones that are not set get their value when the change is made.
    """

    type: Type
    required: bool = False
    optional: bool = False
    computed: bool = False
    write_only: bool = False


@dataclass
class Block:
    """What stands between two braces."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: dict[str, "Nested"] = field(default_factory=dict)


@dataclass(frozen=True)
class Nested:
    """A block inside another one: `nesting` is single, list or set.

    Without `max_items` there may be any number.
    """

    block: Block
    nesting: str
    min_items: int = 0
    max_items: int = 0


@dataclass
class Schema:
    """Every resource and data source by its name, and the provider's own block."""

    provider: Block
    resources: dict[str, Block] = field(default_factory=dict)
    data_sources: dict[str, Block] = field(default_factory=dict)


def provider_block() -> Block:
    """Return what `provider "google" { … }` takes, as far as it is used here."""
    names = (
        "project",
        "region",
        "zone",
        "credentials",
        "access_token",
        "impersonate_service_account",
    )
    return Block(
        {
            **{name: Attribute("string", optional=True) for name in (*names, "billing_project")},
            "user_project_override": Attribute("bool", optional=True),
            "default_labels": Attribute(["map", "string"], optional=True),
        }
    )
