"""The page has the same words in each language, and a message for every code of the API."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def test_languages_have_the_same_words_and_every_code() -> None:
    words = ROOT / "web-server/page/src/words"
    languages = {path.stem: json.loads(path.read_text()) for path in words.glob("*.json")}
    assert languages["en"].keys() == languages["es"].keys()
    components = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())["components"]
    codes = {*_codes(components), *_codes_of_deliveries(components)}
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


def _codes_of_deliveries(components: dict[str, Any]) -> list[str]:
    """Return the codes that the description of a delivery's `error_code` names."""
    properties = components["schemas"]["Delivery"]["properties"]
    named = re.findall(r"`([a-z_]+)`", properties["error_code"]["description"])
    assert "receiver_unavailable" in named
    return named


def test_languages_have_the_same_placeholders() -> None:
    english, spanish = (_words(tag) for tag in ("en", "es"))
    for key, text in english.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", spanish[key])), key


def test_each_advice_belongs_to_a_code_and_failed_tasks_have_one() -> None:
    words = _words("en")
    advised = {key.removeprefix("do.") for key in words if key.startswith("do.")}
    assert {code for code in advised if f"code.{code}" not in words} == set()
    contract = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
    failures = contract["components"]["schemas"]["Failure"]["properties"]["code"]["enum"]
    # Their sentence says it already.
    complete = {
        "brand_gone", "clip_lost", "clip_too_large", "edit_too_many_parts", "quota_bytes",
        "source_is_a_web_page", "upload_gone", "url_scheme_not_allowed",
    }  # fmt: skip
    assert set(failures) - advised - complete == set()


def _words(tag: str) -> dict[str, str]:
    words: dict[str, str] = json.loads((ROOT / f"web-server/page/src/words/{tag}.json").read_text())
    return words
