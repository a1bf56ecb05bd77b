"""Brands count towards an account's bytes with the size of their files as they are kept."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.settings import Settings
from worker_testing import problem

pytestmark = pytest.mark.usefixtures("long_brand_timeouts")
Auth = Callable[..., dict[str, str]]


def picture(seed: int) -> bytes:
    """Return a PNG of noise, whose size hardly changes when it is written again."""
    target = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


SIZE = len(picture(1))


@pytest.fixture
def limited(settings: Settings) -> Flask:
    """The tasks service with space for one picture and a half for each account."""
    return create_app(settings.model_copy(update={"quota_bytes": SIZE * 3 // 2}))


def post(app: Flask, headers: dict[str, str], *seeds: int) -> TestResponse:
    files = zip(("before", "after"), map(picture, seeds), strict=False)
    data = {name: (io.BytesIO(content), "a.png") for name, content in files}
    return app.test_client().post("/brands", headers=headers, data={"name": "Race", **data})


def test_brand_that_exceeds_the_quota_is_refused(
    limited: Flask, auth: Auth, database: Database
) -> None:
    refused = post(limited, auth(), 1, 2)
    assert problem(refused) == (403, "quota_bytes")
    assert refused.headers["RateLimit"] == f'"clip-bytes";r={SIZE * 3 // 2}'
    assert post(limited, auth(), 1).status_code == 201
    assert problem(post(limited, auth(), 2)) == (403, "quota_bytes")
    assert post(limited, auth(2), 2).status_code == 201
    assert database.execute("SELECT count(*) FROM brands") == [(2,)]


def test_parallel_brands_do_not_exceed_the_quota(
    limited: Flask, auth: Auth, database: Database
) -> None:
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(post, limited, auth(), seed) for seed in (1, 2)]
    assert sorted(call.result().status_code for call in calls) == [201, 403]
    assert database.execute("SELECT count(*) FROM brands") == [(1,)]
