"""The name under which a download is saved."""

from unicodedata import normalize
from urllib.parse import quote


def content_disposition(kind: str, name: str) -> str:
    """Return the header for a name in any script, without quotes (RFC 6266 §4.3, RFC 8187).

    `kind` is `attachment` or `inline`.
    """
    plain = "".join(map(_ascii, normalize("NFC", name)))
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _ascii(character: str) -> str:
    """Return a letter without its accent, `_` for what has no ASCII: a slash of another width."""
    if character.isascii():
        return character
    base = normalize("NFD", character)[0]
    return base if base.isascii() and base.isalnum() else "_"
