"""A caller of the API that checks every response's contract, and its request id."""

import uuid
from typing import Any

import requests

from blackbox.contract import Contract
from idrl_testing.api_client import FINISHED, Account, ApiClient, Task

__all__ = ["FINISHED", "Account", "Api", "Task"]


class Api(ApiClient):
    """The API at one address, for one account or, without a token, for an anonymous caller."""

    def __init__(self, base_url: str, contract: Contract, token: str | None = None) -> None:
        super().__init__(base_url, token)
        self.contract = contract

    def call(
        self,
        method: str,
        path: str,
        *,
        request_id: str | None = None,
        is_echoed: bool = True,
        **options: Any,  # noqa: ANN401 # those of requests
    ) -> requests.Response:
        """Make one call and return its response, checked against the contract.

        The request id must come back, unless `is_echoed` is false: a request can be refused before
        its headers are read.
        """
        headers = {
            "X-Request-Id": request_id or f"e2e-{uuid.uuid4()}",
            **options.pop("headers", {}),
        }
        response = super().call(method, path, headers=headers, **options)
        self.contract.check(response)
        assert (response.headers["X-Request-Id"] == headers["X-Request-Id"]) is is_echoed
        return response
