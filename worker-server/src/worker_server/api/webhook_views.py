"""The `/webhooks` calls: each parses, calls one service and answers."""

from functools import partial
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import AfterValidator, Field

from idrl_common.access import caller
from idrl_common.cursors import Position
from idrl_common.paging import PageQuery, page_by_position, page_response
from idrl_common.times import utc_text
from idrl_common.validation import Body, CleanStr, parse_body
from worker_server import webhook_signatures as signing
from worker_server.api.ids import parse_id
from worker_server.fetching import check_url
from worker_server.models import Webhook, WebhookDelivery
from worker_server.models.statuses import DeliveryStatus
from worker_server.queue import callbacks, webhook_rows
from worker_server.queue.webhook_rows import DEFAULT_EVENTS, EVENTS, WebhookNotFound
from worker_server.settings import current

Events = Annotated[
    list[Literal[EVENTS]],  # type: ignore[valid-type] # the values are those of the rows
    Field(min_length=1, max_length=len(EVENTS)),
    AfterValidator(lambda events: list(dict.fromkeys(events))),
]


class NewWebhook(Body):
    """The body of POST /webhooks."""

    url: CleanStr = Field(min_length=1)
    events: Events = Field(default_factory=lambda: list(DEFAULT_EVENTS))


class WebhookListQuery(PageQuery):
    """The query of GET /webhooks."""

    max: int = Field(webhook_rows.MAX_WEBHOOKS, ge=1, le=webhook_rows.MAX_WEBHOOKS)


class DeliveryListing(PageQuery):
    """The query of GET /webhooks/<id>/deliveries."""

    max: int = Field(20, ge=1, le=100)


def blueprint() -> Blueprint:
    """Return the routes."""
    routes = Blueprint("webhooks", __name__, url_prefix="/webhooks")

    @routes.post("")
    def create_webhook() -> tuple[Response, int, dict[str, str]]:
        body, settings = parse_body(NewWebhook), current()
        allow, deny = settings.webhook_allow_hosts, settings.fetch_deny_hosts
        check_url(body.url, allow_hosts=allow, deny_hosts=deny)
        secret = signing.make_secret()
        row = webhook_rows.create(caller().user_id, body.url, body.events, secret)
        document = _webhook(row) | {"secret": signing.encode_secret(secret)}
        return jsonify(document), 201, {"Location": document["link"]}

    @routes.get("")
    def list_webhooks() -> Response:
        owner_id = caller().user_id
        rows_after = partial(webhook_rows.list_webhooks, owner_id)
        return page_response(WebhookListQuery, "webhooks", owner_id, rows_after, _webhook)

    @routes.get("/callback-secret")
    def get_callback_secret() -> Response:
        return jsonify(secret=signing.encode_secret(callbacks.get_secret(caller().user_id)))

    @routes.post("/callback-secret")
    def replace_callback_secret() -> Response:
        return jsonify(secret=signing.encode_secret(callbacks.replace_secret(caller().user_id)))

    @routes.delete("/callback-secret")
    def delete_callback_secret() -> Response:
        callbacks.delete_secret(caller().user_id)
        return Response(status=204)

    @routes.get("/<webhook_id>")
    def get_webhook(webhook_id: str) -> Response:
        key = parse_id(webhook_id, WebhookNotFound)
        return jsonify(_webhook(webhook_rows.find(caller().user_id, key)))

    @routes.delete("/<webhook_id>")
    def delete_webhook(webhook_id: str) -> Response:
        webhook_rows.delete_webhook(caller().user_id, parse_id(webhook_id, WebhookNotFound))
        return Response(status=204)

    _add_deliveries(routes)
    return routes


def _add_deliveries(routes: Blueprint) -> None:
    @routes.post("/<webhook_id>/test")
    def send_test(webhook_id: str) -> tuple[Response, int]:
        key = parse_id(webhook_id, WebhookNotFound)
        return jsonify(_delivery(webhook_rows.send_test(caller().user_id, key))), 202

    @routes.get("/<webhook_id>/deliveries")
    def list_deliveries(webhook_id: str) -> Response:
        owner_id, key = caller().user_id, parse_id(webhook_id, WebhookNotFound)
        rows_after = partial(webhook_rows.list_deliveries, owner_id, key)
        return page_by_position(
            DeliveryListing, f"deliveries {key}", owner_id, rows_after, _delivery, _position
        )

    @routes.post("/<webhook_id>/deliveries/<delivery_id>/resend")
    def resend(webhook_id: str, delivery_id: str) -> tuple[Response, int]:
        keys = (parse_id(each, WebhookNotFound) for each in (webhook_id, delivery_id))
        return jsonify(_delivery(webhook_rows.resend(caller().user_id, *keys))), 202


def _webhook(row: Webhook) -> dict[str, Any]:
    return {
        "webhook_id": str(row.id),
        "url": row.url,
        "events": row.events,
        "created_at": utc_text(row.created_at),
        "disabled_at": row.disabled_at and utc_text(row.disabled_at),
        "link": f"/webhooks/{row.id}",
    }


def _delivery(row: WebhookDelivery) -> dict[str, Any]:
    is_waiting = row.status == DeliveryStatus.WAITING
    return {
        "delivery_id": str(row.id),
        "message_id": f"msg_{row.id}",
        "event": row.event,
        "task_id": None if row.task_id is None else str(row.task_id),
        "batch_id": None if row.batch_id is None else str(row.batch_id),
        "part": row.part,
        "event_at": utc_text(row.event_at),
        "status": row.status,
        "attempts": row.attempt,
        "attempted_at": row.attempted_at and utc_text(row.attempted_at),
        "next_attempt_at": utc_text(row.run_after) if is_waiting else None,
        "http_status": row.http_status,
        "error_code": row.error_code,
    }


def _position(row: WebhookDelivery) -> Position:
    return Position.at(row.event_at, row.id)
