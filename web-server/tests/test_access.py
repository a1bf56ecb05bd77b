"""Every endpoint needs a token, except those on a short list."""

import pytest
from flask import Flask

from web_server.app import OPEN_ENDPOINTS
from web_testing import assert_problem


def test_every_endpoint_needs_a_token_unless_it_is_listed(app: Flask) -> None:
    client = app.test_client()
    checked = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint in OPEN_ENDPOINTS:
            continue
        path = rule.rule.replace("<path:rest>", "x").replace("<key_id>", "x")
        path = path.replace("<task_id>", "x").replace("<upload_id>", "x")
        assert "<" not in path
        for method in rule.methods or ():
            answer = client.open(path, method=method)
            assert answer.status_code == 401, (method, path)
            if method != "HEAD":
                assert_problem(answer, 401, "token_missing")
        checked.add(rule.endpoint)
    assert "gateway.forward" in checked


def test_open_endpoints_exist(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= OPEN_ENDPOINTS


def test_calls_that_give_something_lasting_read_the_account_uncached(app: Flask) -> None:
    lasting = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in ("auth", "me", "shares")
        and rule.endpoint not in OPEN_ENDPOINTS
        and (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    marked = {
        name for name, view in app.view_functions.items() if "reads_account_now" in vars(view)
    }
    assert {"auth.refresh", "me.create_key", "shares.create_link"} <= lasting
    assert marked == lasting | {"gateway.forward_webhooks"}


def test_new_route_is_closed_by_default(app: Flask) -> None:
    @app.get("/forgotten")
    def forgotten() -> str:
        return "secret"

    assert_problem(app.test_client().get("/forgotten"), 401, "token_missing")


@pytest.mark.parametrize("path", ["/nowhere", "/auth", "/auth/nowhere"])
def test_unknown_path_is_not_found_without_a_token(app: Flask, path: str) -> None:
    assert_problem(app.test_client().get(path), 404, "not_found")
