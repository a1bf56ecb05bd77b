"""The values of a resource as the stand-in knows them: planned, then as if created."""

from typing import Any

import msgpack

from deploy.gcp.offline.schema import Block, Type

# How the protocol writes a value that is not known before the change is made.
UNKNOWN = msgpack.ExtType(0, b"\x00")


def decode(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False) if data else None


def encode(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


def plan(value: Any, block: Block, prior: Any) -> Any:
    """Return the planned value: unset computed attributes are as before, or unknown."""
    if not isinstance(value, dict):
        return value
    before = prior if isinstance(prior, dict) else {}
    for name, attribute in block.attributes.items():
        if attribute.write_only:
            value[name] = None
        elif value.get(name) is None and attribute.computed:
            value[name] = UNKNOWN if before.get(name) is None else before[name]
    for name, nested in block.blocks.items():
        value[name] = _plan_nested(value.get(name), nested.block, before.get(name))
    return value


def _plan_nested(value: Any, block: Block, prior: Any) -> Any:
    if isinstance(value, list):
        old = prior if isinstance(prior, list) else []
        return [
            plan(item, block, old[at] if at < len(old) else None) for at, item in enumerate(value)
        ]
    return plan(value, block, prior)


def settle(value: Any, block: Block, *, read: bool = False) -> Any:
    """Return the value with inventions in unknown places; with `read`, in all computed ones."""
    if not isinstance(value, dict):
        return value
    for name, attribute in block.attributes.items():
        missing = read and attribute.computed and value.get(name) is None
        if missing or isinstance(value.get(name), msgpack.ExtType):
            value[name] = placeholder(attribute.type, name)
    for name, nested in block.blocks.items():
        inner = value.get(name)
        if isinstance(inner, list):
            value[name] = [settle(item, nested.block, read=read) for item in inner]
        else:
            settle(inner, nested.block, read=read)
    return value


def placeholder(kind: Type, name: str) -> Any:
    """Return some value of a type."""
    match kind:
        case "number":
            return 1
        case "bool":
            return False
        case ["list" | "set", inner]:
            return [placeholder(inner, name)]
        case ["map", _]:
            return {}
        case ["object", members]:
            return {member: placeholder(inner, member) for member, inner in members.items()}
        case _:
            return f"invented-{name.replace('_', '-')}"
