"""The commands `idrl brands …`."""

import re
from pathlib import Path
from typing import Any, get_args

import click

from idrl_client import output
from idrl_client.client import Client
from idrl_client.commands import FiniteRange, LocalPath, call_each, json_option, make_client
from idrl_client.errors import LocalFault, NotFound
from idrl_client.models import Watermark

_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NOT_OF_THE_ACCOUNT = ("built-in", "none")
_PLACES = get_args(Watermark.__annotations__["place"])
_ASPECTS = ["16:9", "9:16", "1:1", "4:5"]

_file = LocalPath()
_brand = click.argument("brand", metavar="BRAND")


def find_brand_id(client: Client, brand: str) -> str:
    """Return the id that is meant by an id or a name; raise NotFound or BadParameter."""
    if brand in _NOT_OF_THE_ACCOUNT or _ID.fullmatch(brand):
        return brand
    ids = [each["brand_id"] for each in client.brands() if each["name"] == brand]
    if not ids:
        raise NotFound(f"no brand has the name {brand}: `idrl brands ls` lists yours")
    if len(ids) > 1:
        raise click.BadParameter(f"{len(ids)} brands have the name {brand}: give the id of one")
    return ids[0]


@click.group()
def brands() -> None:
    """What is shown before, after and over your clips. BRAND is an id or a name."""


@brands.command("ls")
@json_option
def list_brands(*, as_json: bool) -> None:
    """List your brands, newest first; * marks the default."""
    client = make_client()
    rows = client.brands()
    output.as_json(rows) if as_json else output.brands(rows, client.default_brand())


@brands.command()
@click.argument("name")
@click.option(
    "--before", type=_file, help="An image, or a video of at most 10 s, shown before the content."
)
@click.option("--after", type=_file, help="The same, shown after the content.")
@click.option(
    "--before-seconds", "before_s", type=FiniteRange(0, 5), help="How long to show a BEFORE image."
)
@click.option(
    "--after-seconds", "after_s", type=FiniteRange(0, 5), help="How long to show an AFTER image."
)
@click.option("--watermark", type=_file, help="An image over the content, such as a logo.")
@click.option(
    "--place", "watermark_place", type=click.Choice(_PLACES), help="Where to put the watermark."
)
@click.option(
    *("--width", "watermark_width"),
    type=FiniteRange(0.02, 0.5),
    help="Width of the watermark, as a share of the frame's.",
)
@click.option(
    "--opacity", "watermark_opacity", type=FiniteRange(0, 1), help="Opacity of the watermark."
)
@click.option("--background", metavar="#RRGGBB", help="Colour around what does not fill the frame.")
@click.option("--default", "is_default", is_flag=True, help="Use it for tasks that name no brand.")
@json_option
def add(
    name: str,
    *,
    is_default: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 # click's
) -> None:
    """Create a brand and print its id."""
    client = make_client()
    options_set = {field: value for field, value in options.items() if value is not None}
    files = {field: value for field, value in options_set.items() if isinstance(value, Path)}
    fields = {field: value for field, value in options_set.items() if field not in files}
    brand = client.create_brand(name, files, **fields)
    if is_default:
        client.set_default_brand(brand["brand_id"])
    output.as_json(brand) if as_json else print(brand["brand_id"])


@brands.command()
@_brand
@click.option("--preview", type=_file, metavar="FILE", help="Write a JPEG preview.")
@click.option("--aspect", type=click.Choice(_ASPECTS), default="16:9", help="Of the preview.")
@json_option
def show(brand: str, preview: Path | None, aspect: str, *, as_json: bool) -> None:
    """Show a brand, or write a picture of it."""
    client = make_client()
    document = client.brand(find_brand_id(client, brand))
    if preview:
        _write(preview, client.brand_preview(document["brand_id"], aspect))
    output.as_json(document) if as_json else output.brand(document)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise LocalFault(f"{path} cannot be written: {error.strerror}") from error


@brands.command()
@click.argument("names", metavar="BRAND…", nargs=-1, required=True)
@json_option
def rm(names: tuple[str, ...], *, as_json: bool) -> None:
    """Remove brands; clips and live tasks that use them are not changed."""
    client = make_client()

    def delete(name: str) -> dict[str, str]:
        brand_id = find_brand_id(client, name)
        client.delete_brand(brand_id)
        return {"brand_id": brand_id, "status": "deleted"}

    call_each(delete, names, is_json=as_json)


@brands.command()
@click.argument("brand", metavar="[BRAND|built-in|none]", required=False)
@json_option
def default(brand: str | None, *, as_json: bool) -> None:
    """Show or set the default brand, for later tasks that name none."""
    client = make_client()
    if brand is None:
        document = client.default_brand()
    else:
        document = client.set_default_brand(find_brand_id(client, brand))
    output.as_json(document) if as_json else print(document["brand_id"])
