"""The page has the same words in each language, and a message for every code of the API."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_languages_have_the_same_words_and_every_code() -> None:
    words = ROOT / "web-server/page/src/words"
    languages = {path.stem: json.loads(path.read_text()) for path in words.glob("*.json")}
    assert languages["en"].keys() == languages["es"].keys()
    codes = set(_codes(yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())["components"]))
    assert len(codes) > 90
    assert {code for code in codes if f"code.{code}" not in languages["en"]} == set()


def _codes(node: object) -> list[str]:
    """Return the values of every `code` in the contract."""
    if isinstance(node, list):
        return [code for each in node for code in _codes(each)]
    if not isinstance(node, dict):
        return []
    own = node["code"]["enum"] if "enum" in (node.get("code") or {}) else []
    return own + [code for each in node.values() for code in _codes(each)]
