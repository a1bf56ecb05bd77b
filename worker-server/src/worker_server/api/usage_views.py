"""`GET /usage`: what the caller's account uses, and its limits."""

from typing import Any

from flask import Blueprint, Response, jsonify

from idrl_common.access import caller
from worker_server.db import transaction
from worker_server.queue import brands, usage
from worker_server.queue.quotas import Quotas
from worker_server.settings import current


def blueprint() -> Blueprint:
    """Return the route."""
    routes = Blueprint("usage", __name__)

    @routes.get("/usage")
    def show_usage() -> Response:
        return jsonify(_document(caller().user_id, current().quotas))

    return routes


def _document(owner_id: int, defaults: Quotas) -> dict[str, Any]:
    with transaction() as session:
        quotas = defaults.of_account(session, owner_id)
        seconds = usage.today(session, owner_id)
        return {
            "live_tasks": usage.count_live_tasks(session, owner_id),
            "live_tasks_limit": quotas.live_tasks or None,
            "clips_bytes": usage.sum_clip_bytes(session, owner_id),
            "uploads_bytes": usage.sum_upload_bytes(session, owner_id),
            "sources_bytes": usage.sum_source_bytes(session, owner_id),
            "brands_bytes": brands.sum_bytes(session, owner_id),
            "clips_bytes_limit": quotas.size_bytes or None,
            "source_s_today": round(seconds.planned_s, 3),
            "source_s_today_limit": quotas.source_seconds_per_day or None,
            "today_ends_in_s": seconds.ends_in_s,
            "rendered_s_this_month": round(seconds.rendered_s, 3),
        }
