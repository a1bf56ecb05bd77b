"""Read the google provider's schema from its TypeScript bindings in a Python wheel.

The bindings are generated from the provider's own schema: every class writes down the name of each
argument, whether it is a block, its kind of collection and what that holds; every interface says
which must be given; every getter of something else is a result. Where a type is not exact, it is
taken as any type, so that a mistake there can pass, and nothing right is refused.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.gcp.offline.schema import Attribute, Block, Nested, Schema, Type, provider_block

_SCALARS = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
# The suffix of the getter that a result is read with: getStringListAttribute…
_RESULTS: dict[str, Type] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "BooleanMap": ["map", "bool"],
    "NumberMap": ["map", "number"],
    "AnyMap": ["map", "string"],
}
_INTERFACE = re.compile(r"export interface (\w+)[^{]*\{(.*?)\n\}", re.DOTALL)
_PROPERTY = re.compile(r"readonly (\w+)(\??): ([^;]+);")
_FUNCTION = re.compile(r"function (\w+)ToHclTerraform\(struct\) \{(.*?)\n\}", re.DOTALL)
_CLASS = re.compile(r"\nclass (\w+) extends [^{]+\{(.*?)\n\}\n", re.DOTALL)
_MAIN = re.compile(r"class (\w+) extends cdkt[fn]\.Terraform(?:Resource|DataSource)")
_ARGUMENTS = re.compile(r"synthesizeHclAttributes\(\) \{(.*?)\n    \}", re.DOTALL)
_ARGUMENT = re.compile(
    r"\n {8,12}(?P<name>\w+): \{\s*value: (?P<value>.*?),\s*isBlock: (?P<is_block>true|false),"
    r'\s*type: "(?P<kind>\w+)",\s*storageClassType: "(?P<stored>\w+)"',
    re.DOTALL,
)
_STORED = re.compile(r"(string|number|boolean|any)(List|Map|Set)")
_FIELD = re.compile(r"(?:struct\.|this\._)(\w+?)(?:\.internalValue)?\)")
_CONVERTER = re.compile(r"(\w+)ToHclTerraform")
_GETTER = re.compile(
    r"get \w+\(\) \{\s*return (?P<is_set>cdkt[fn]\.Fn\.tolist\()?"
    r"(?:cdkt[fn]\.Token\.asNumberList\()?"
    r"this\.get(?P<kind>\w+)Attribute\('(?P<name>\w+)'\)"
)
_MAP = re.compile(r'\b_\w+ = new cdkt[fn]\.(String|Number|Boolean|Any)Map\(this, "(\w+)"\)')
_LIST = re.compile(r'\b_\w+ = new (\w+?)(List|Map)\(this, "(\w+)", (true|false)\)')


def read_schema(wheel: Path, resources: Iterable[str], data_sources: Iterable[str]) -> Schema:
    """Return the schema of these resources and data sources.

    Raise KeyError for a name that the provider does not have.
    """
    folders = {
        **{_folder(name): name for name in resources},
        **{_folder(name, "data-"): name for name in data_sources},
    }
    sources = dict(_sources(wheel, set(folders)))
    schema = Schema(provider_block())
    for folder, name in folders.items():
        if folder not in sources:
            raise KeyError(f"the provider has no {name}")
        target = schema.data_sources if folder.startswith("data-") else schema.resources
        target[name] = _Bindings.parse(*sources[folder]).block_of_resource()
    return schema


def _folder(name: str, prefix: str = "") -> str:
    """Return the folder of a resource or, with a prefix, of the data source of that name.

    google_compute_network is in compute-network, or data-google-compute-network.
    """
    plain = name.removeprefix("google_").replace("_", "-")
    return f"{prefix}google-{plain}" if prefix else plain


def _sources(wheel: Path, folders: set[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each folder with its JavaScript and its declarations, from the wheel's archive."""
    sources: dict[str, dict[str, str]] = {folder: {} for folder in folders}
    with zipfile.ZipFile(wheel) as outer:
        archive = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as inner:
        for member in inner:
            match = re.fullmatch(r"package/lib/([\w-]+)/index\.(js|d\.ts)", member.name)
            if match and match[1] in sources and (file := inner.extractfile(member)):
                sources[match[1]][match[2]] = file.read().decode()
    for folder, files in sources.items():
        if len(files) == 2:  # JavaScript and declarations
            yield folder, (files["js"], files["d.ts"])


@dataclass
class _Bindings:
    """The bindings of one resource, taken apart."""

    javascript: str
    # Of each interface, for each property: must it be given, and is it an array?
    interfaces: dict[str, dict[str, tuple[bool, bool]]]
    # The bodies of the functions that write blocks, and of the classes that read results.
    functions: dict[str, str]
    classes: dict[str, str]

    @classmethod
    def parse(cls, javascript: str, declarations: str) -> "_Bindings":
        interfaces = {
            name: {
                field: (not optional, "[]" in kind)
                for field, optional, kind in _PROPERTY.findall(body)
            }
            for name, body in _INTERFACE.findall(declarations)
        }
        return cls(
            javascript,
            interfaces,
            dict(_FUNCTION.findall(javascript)),
            dict(_CLASS.findall(javascript)),
        )

    def block_of_resource(self) -> Block:
        main, arguments = _MAIN.search(self.javascript), _ARGUMENTS.search(self.javascript)
        if not main or not arguments:
            raise ValueError("these bindings are not written as those of the pinned version are")
        return self._block(arguments[1], f"{main[1]}Config", main[1])

    def _block(self, body: str, interface: str, class_name: str) -> Block:
        block = Block()
        for match in _ARGUMENT.finditer(body):
            self._add(block, match, self.interfaces.get(interface, {}))
        for name, kind in self._results(class_name).items():
            if name not in block.attributes and name not in block.blocks:
                block.attributes[name] = Attribute(kind, computed=True)
        return block

    def _add(
        self, block: Block, match: re.Match[str], properties: dict[str, tuple[bool, bool]]
    ) -> None:
        """Add one argument: a block, a list of objects written as an argument, or a plain one."""
        name, value, kind = match["name"], match["value"], match["kind"]
        field = _FIELD.search(value)
        required, is_array = properties.get(field[1] if field else "", (False, False))
        converters = [name for name in _CONVERTER.findall(value) if name in self.functions]
        nesting = "set" if kind == "set" else "list"
        if converters and match["is_block"] == "true":
            single = name == "timeouts"
            most = 0 if is_array or single else 1
            inner = self._nested(converters[-1])
            block.blocks[name] = Nested(inner, "single" if single else nesting, int(required), most)
        elif converters:
            inner = self._nested(converters[-1])
            members = {key: attribute.type for key, attribute in inner.attributes.items()}
            block.attributes[name] = Attribute(
                [nesting, ["object", members]], optional=True, computed=True
            )
        else:
            # Write-only arguments end in _wo by HashiCorp's convention; the bindings do not tell
            # them apart.
            write_only = name.endswith("_wo")
            arguments = (
                {"required": True} if required else {"optional": True, "computed": not write_only}
            )
            block.attributes[name] = Attribute(
                _type_of(kind, match["stored"]), **arguments, write_only=write_only
            )

    def _nested(self, function: str) -> Block:
        interface = function[0].upper() + function[1:]
        return self._block(self.functions[function], interface, f"{interface}OutputReference")

    def _results(self, class_name: str) -> dict[str, Type]:
        """Return what a class gives to read, with its type."""
        body = self.classes.get(class_name, "")
        results: dict[str, Type] = {}
        for match in _GETTER.finditer(body):
            kind = _RESULTS.get(match["kind"], "string")
            results[match["name"]] = (
                ["set", kind[1]] if match["is_set"] and isinstance(kind, list) else kind
            )
        for kind, name in _MAP.findall(body):
            results[name] = _RESULTS[f"{kind}Map"]
        for inner, collection, name, is_set in _LIST.findall(body):
            nesting = "set" if is_set == "true" else collection.lower()
            results.setdefault(
                name, [nesting, ["object", self._results(f"{inner}OutputReference")]]
            )
        return results


def _type_of(kind: str, stored: str) -> Type:
    if stored in _SCALARS:
        return _SCALARS[stored]
    match = _STORED.fullmatch(stored)
    if not match:
        return "dynamic"
    return ["set" if kind == "set" else match[2].lower(), _SCALARS[match[1]]]
