"""The HTML of a share link: the page, a preview for messengers, a list without JavaScript."""

import re
from typing import Any

from flask import Response, request
from markupsafe import Markup

from idrl_common.times import play_time
from web_server import page

# What fetches a link to show a preview in a chat: it reads HTML, and asks for `*/*` as scripts do.
_PREVIEWS = re.compile(
    r"facebookexternalhit|WhatsApp/|TelegramBot|Twitterbot|Slackbot|Discordbot|LinkedInBot"
    r"|SkypeUriPreview|Iframely"
)
_CLIP = Markup('<li><a href="{link}" download>{name}</a> {begin} - {end}</li>')
_WITHOUT_SCRIPT = Markup("<noscript><main><h1>{name}</h1>{zip}<ol>{clips}</ol></main></noscript>")
_ZIP = Markup(
    '<p><a href="{link}" download>Download all · <span lang="es">Descargar todo</span></a>'
)


def is_wanted() -> bool:
    """Return whether a browser or a messenger asks, not a caller of the API."""
    if page.is_wanted():
        return True
    accept = request.headers.get("Accept", "*/*")
    return accept == "*/*" and bool(_PREVIEWS.search(request.headers.get("User-Agent", "")))


def response(share: dict[str, Any], base_url: str) -> Response:
    """Return the page of a link whose document is `share`; previews need absolute addresses."""
    title = Markup("<title>{name} · idrl</title>").format(name=share["name"])
    head = [title, Markup('<meta name="robots" content="noindex">'), *_preview(share, base_url)]
    return page.document_with(Markup("\n").join(head), _without_script(share))


def _preview(share: dict[str, Any], base_url: str) -> list[Markup]:
    """Return tags of the Open Graph protocol (https://ogp.me)."""
    parts = share["parts"]
    properties = {
        "og:title": share["name"],
        "og:description": f"{len(parts)} {'clip' if len(parts) == 1 else 'clips'}",
        "og:site_name": "idrl",
        "og:type": "website",
    }
    if parts:
        properties["og:image"] = f"{base_url}{parts[0]['poster']}"
    tag = Markup('<meta property="{name}" content="{value}">')
    return [tag.format(name=name, value=value) for name, value in properties.items()]


def _without_script(share: dict[str, Any]) -> Markup:
    zip_link = share["clips_zip"] if share["parts"] else None
    return _WITHOUT_SCRIPT.format(
        name=share["name"],
        zip=_ZIP.format(link=zip_link) if zip_link else "",
        clips=Markup().join(map(_clip, share["parts"])),
    )


def _clip(part: dict[str, Any]) -> Markup:
    return _CLIP.format(
        link=part["link"],
        name=part["name"] or f"Clip {part['number'] + 1}",
        begin=play_time(part["start_s"]),
        end=play_time(part["end_s"]),
    )
