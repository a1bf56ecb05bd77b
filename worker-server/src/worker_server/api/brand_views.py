"""The `/brands` calls: each parses, calls one service and answers."""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import Field

from idrl_common.access import caller
from idrl_common.paging import PageQuery, page_response
from idrl_common.times import utc_text
from idrl_common.validation import Body, Query, parse_body, parse_query
from worker_server.api import brand_forms, services, tags
from worker_server.api.ids import parse_id
from worker_server.api.poster_views import MAX_PARALLEL_PICTURES, MAX_PARALLEL_PICTURES_PER_ACCOUNT
from worker_server.api.share_access import problem_of
from worker_server.api.slots import slots_for
from worker_server.brand_drafts import BrandDraft, Maker, PreviewDrawer, drawing_slot, making_slot
from worker_server.db import transaction
from worker_server.edits import BrandChoice
from worker_server.models import Brand
from worker_server.queue import brands
from worker_server.queue.brands import BrandNotFound
from worker_server.settings import current
from worker_server.share_monitor import ShareMonitor

_MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT = 16, 2
_log = logging.getLogger(__name__)


class DefaultChoice(Body):
    """The body of PUT /brands/default."""

    brand_id: BrandChoice | None = Field(...)


class BrandListQuery(PageQuery):
    """The query of GET /brands."""

    max: int = Field(brands.MAX_BRANDS, ge=1, le=brands.MAX_BRANDS)


class PreviewQuery(Query):
    """The query of GET /brands/<id>/preview.jpg."""

    aspect: Literal["16:9", "9:16", "1:1", "4:5"] = "16:9"


def blueprint(share: ShareMonitor, make: Maker, draw: PreviewDrawer) -> Blueprint:
    """Return the routes; `make` checks and stores a brand, `draw` returns its preview."""
    routes = Blueprint("brands", __name__, url_prefix="/brands")
    # Bounds the calls that wait for `making_slot`; each process has one slot.
    making = slots_for("brands", _MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT)
    drawing = slots_for("pictures", MAX_PARALLEL_PICTURES, MAX_PARALLEL_PICTURES_PER_ACCOUNT)

    @routes.post("")
    def create_brand() -> tuple[Response, int, dict[str, str]]:
        called_at = time.monotonic()
        services.admit_write(share)
        _require_space(caller().user_id)
        with (
            making.slot(caller().user_id),
            making_slot(),
            _temporary_folder() as folder,
        ):
            form, files = brand_forms.receive_form(folder)
            brand = make(_draft(form, files, folder, called_at), current().remote_folder)
        document = _document(brand)
        return jsonify(document), 201, {"Location": document["link"]}

    @routes.get("")
    def list_brands() -> Response:
        owner_id = caller().user_id
        rows_after = partial(brands.list_brands, owner_id)
        return page_response(BrandListQuery, "brands", owner_id, rows_after, _document)

    @routes.get("/default")
    def get_default_brand() -> Response:
        return jsonify(brand_id=brands.default_of(caller().user_id))

    @routes.put("/default")
    def set_default_brand() -> Response:
        chosen = parse_body(DefaultChoice).brand_id
        return jsonify(brand_id=brands.set_default(caller().user_id, chosen))

    @routes.get("/<brand_id>")
    def get_brand(brand_id: str) -> Response:
        key = parse_id(brand_id, BrandNotFound)
        return jsonify(_document(brands.find(caller().user_id, key)))

    @routes.get("/<brand_id>/preview.jpg")
    def get_preview(brand_id: str) -> Response:
        aspect = parse_query(PreviewQuery).aspect
        brand = brands.find(caller().user_id, parse_id(brand_id, BrandNotFound))
        tag = tags.weak_tag([str(brand.id)], aspect)  # a brand never changes
        if tags.is_known(tag):
            return tags.not_modified(tag)
        with drawing.slot(caller().user_id), drawing_slot():
            preview = draw(brand, aspect, current().remote_folder)
        return tags.tagged(Response(preview, mimetype="image/jpeg"), tag)

    @routes.delete("/<brand_id>")
    def delete_brand(brand_id: str) -> Response:
        brands.delete_brand(caller().user_id, parse_id(brand_id, BrandNotFound))
        return Response(status=204)

    return routes


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder for the block; raise a 503 Problem where this machine's disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="idrl-brand-") as folder:
            yield Path(folder)
    except OSError as error:
        _log.warning("a brand was not made", exc_info=error)
        raise problem_of(error) from error


def _require_space(owner_id: int) -> None:
    """Raise QuotaExceeded where the account's quota of bytes is used up."""
    with transaction() as session:
        current().quotas.of_account(session, owner_id).check_bytes(session, owner_id)


def _draft(
    form: brand_forms.BrandForm, files: dict[str, Path], folder: Path, called_at: float
) -> BrandDraft:
    return BrandDraft(
        owner_id=caller().user_id,
        name=form.name,
        background=form.background,
        durations_s={"before": form.before_s, "after": form.after_s},
        watermark={
            "place": form.watermark_place,
            "width_share": form.watermark_width,
            "opacity": form.watermark_opacity,
        },
        files=files,
        folder=folder,
        called_at=called_at,
    )


def _document(brand: Brand) -> dict[str, Any]:
    watermark = brand.spec.get("watermark")
    return {
        "brand_id": str(brand.id),
        "name": brand.name,
        "before": _bumper(brand.spec.get("before")),
        "after": _bumper(brand.spec.get("after")),
        "watermark": watermark and {key: watermark[key] for key in _WATERMARK_FIELDS},
        "background": brand.spec["background"],
        "size_bytes": brand.size_bytes,
        "created_at": utc_text(brand.created_at),
        "link": f"/brands/{brand.id}",
    }


_WATERMARK_FIELDS = ("width", "height", "place", "width_share", "opacity")


def _bumper(spec: dict[str, Any] | None) -> dict[str, Any] | None:
    if spec is None:
        return None
    kind = "video" if spec["file"].endswith(".mp4") else "image"
    duration_s = round(float(Fraction(spec["duration_s"])), 3)
    sides = {"width": spec["width"], "height": spec["height"]}
    return {"kind": kind, "duration_s": duration_s, **sides}
