"""Print idrl_client/models.py: the documents of docs/openapi.yaml as TypedDicts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CONTRACT = Path(__file__).parents[3] / "docs" / "openapi.yaml"
# What the client reads and sends; a schema that one of these names is written too.
ROOTS = (
    *("TaskWithParts", "Task", "NewTask", "Deleted", "Canceling", "Usage"),
    *("Account", "KeyWithSecret", "Token", "Brand", "DefaultBrand", "Problem"),
)
_SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "object": "dict[str, Any]",
}
# Longer lists are of codes, which releases to come add to.
_MAX_CHOICES = 10
_HEADER = '''"""The documents of the API. Written by `make client-models` from docs/openapi.yaml."""

from typing import Any, Literal, NotRequired, TypedDict
'''
Schema = dict[str, Any]


class Models:
    """Writes classes in an order in which each comes after those that it names."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self._schemas = schemas
        self._written: dict[str, str] = {}

    def text(self) -> str:
        """Return the module."""
        for name in ROOTS:
            self._write(name)
        return "\n\n".join([_HEADER, *self._written.values()])

    def _write(self, name: str) -> None:
        if name in self._written:
            return
        properties, required = self._fields(self._schemas[name])
        lines = [
            f"    {field}: {self._field_type(schema, is_required=field in required)}"
            for field, schema in properties.items()
        ]
        docstring = f'    """The schema {name} of the contract."""'
        self._written[name] = "\n".join([f"class {name}(TypedDict):", docstring, "", *lines, ""])

    def _fields(self, schema: Schema) -> tuple[dict[str, Schema], set[str]]:
        """Return the properties of an object and of all that it is made of (allOf)."""
        properties: dict[str, Schema] = {}
        required: set[str] = set()
        for part in [*map(self._resolved, schema.get("allOf", [])), schema]:
            inner = self._fields(part) if part is not schema else ({}, set())
            properties |= inner[0] | (part.get("properties", {}) if part is schema else {})
            required |= inner[1] | (set(part.get("required", [])) if part is schema else set())
        return properties, required

    def _resolved(self, schema: Schema) -> Schema:
        if reference := schema.get("$ref"):
            return self._schemas[reference.rpartition("/")[2]]
        return schema

    def _field_type(self, schema: Schema, *, is_required: bool) -> str:
        kind = self._type(schema)
        return kind if is_required else f"NotRequired[{kind}]"

    def _type(self, schema: Schema) -> str:
        if reference := schema.get("$ref"):
            return self._named_type(reference.rpartition("/")[2])
        if choices := schema.get("oneOf") or schema.get("anyOf"):
            return " | ".join(dict.fromkeys(map(self._type, choices)))
        if values := schema.get("enum"):
            literal = f"Literal[{', '.join(map(repr, values))}]"
            return literal if len(values) <= _MAX_CHOICES else "str"
        kinds = schema.get("type", "object")
        names = [kinds] if isinstance(kinds, str) else kinds
        return " | ".join(
            f"list[{self._type(schema['items'])}]" if kind == "array" else _SCALARS[kind]
            for kind in names
        )

    def _named_type(self, name: str) -> str:
        schema = self._schemas[name]
        if "properties" not in schema and "allOf" not in schema:
            return self._type(schema)
        self._write(name)
        return name


def text() -> str:
    """Return the module as the formatter leaves it."""
    contract = yaml.safe_load(CONTRACT.read_text())
    command = [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"]
    module = Models(contract["components"]["schemas"]).text()
    return subprocess.run(
        command, input=module, check=True, capture_output=True, text=True, cwd=CONTRACT.parent
    ).stdout


if __name__ == "__main__":
    sys.stdout.write(text())
