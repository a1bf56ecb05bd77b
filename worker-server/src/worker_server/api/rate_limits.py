"""RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers): what is left of limits."""

from collections.abc import Sequence

from idrl_common.problems import Problem
from worker_server.queue.quotas import LimitState, QuotaExceeded

_WAIT_S = 30


def headers_of(limits: Sequence[LimitState]) -> dict[str, str]:
    """Return the two headers; none where the account has no limits."""
    if not limits:
        return {}
    return {
        "RateLimit-Policy": ", ".join(map(_policy, limits)),
        "RateLimit": ", ".join(map(_remaining, limits)),
    }


def refusal(error: QuotaExceeded) -> Problem:
    """Return 429 for a limit that ends by itself, 403 for one that the caller has to act on."""
    headers = headers_of([error.limit])
    if not error.ends_by_itself:
        return Problem(403, error.code, str(error), headers=headers)
    wait_s = _WAIT_S if error.limit.reset_s is None else error.limit.reset_s
    return Problem(429, error.code, str(error), headers={"Retry-After": str(wait_s), **headers})


def _policy(limit: LimitState) -> str:
    window = "" if limit.window_s is None else f";w={limit.window_s}"
    return f'"{limit.name}";q={limit.quota}{window}'


def _remaining(limit: LimitState) -> str:
    reset = "" if limit.reset_s is None else f";t={limit.reset_s}"
    return f'"{limit.name}";r={limit.remaining}{reset}'
