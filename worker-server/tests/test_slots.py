"""Slots of slow calls: a few accounts never take all of them from the others."""

import math
from collections.abc import Callable
from contextlib import suppress

import pytest

from idrl_common.problems import Problem
from worker_server.api import archives, brand_views, clips, poster_views, upload_receiving
from worker_server.api.slots import Slots, slots_for

PICTURES = (poster_views.MAX_PARALLEL_PICTURES, poster_views.MAX_PARALLEL_PICTURES_PER_ACCOUNT)


def fill(slots: Slots, owner_id: int) -> tuple[list[Callable[[], None]], Problem]:
    """Take all that the account gets; return what frees them, and the refusal of one more."""
    frees: list[Callable[[], None]] = []
    while True:
        try:
            frees.append(slots.acquire(owner_id))
        except Problem as refusal:
            return frees, refusal


@pytest.mark.parametrize(
    ("what", "of_all", "of_account"),
    [
        ("uploads", upload_receiving._MAX_PARALLEL, upload_receiving._MAX_PARALLEL_PER_ACCOUNT),
        ("downloads", clips._MAX_PARALLEL, clips._MAX_PARALLEL_PER_ACCOUNT),
        ("ZIPs", archives._MAX_PARALLEL, archives._MAX_PARALLEL_PER_ACCOUNT),
        ("brands", brand_views._MAX_PARALLEL, brand_views._MAX_PARALLEL_PER_ACCOUNT),
        ("pictures", *PICTURES),
    ],
)
def test_a_few_accounts_leave_a_slot_to_another_one(
    what: str, of_all: int, of_account: int
) -> None:
    """As when eight accounts drip bytes into eight of the 64 uploads each."""
    is_upload = what == "uploads"
    slots = upload_receiving.sending_slots() if is_upload else slots_for(what, of_all, of_account)
    first, refusal = fill(slots, 1)
    assert (len(first), refusal.status) == (of_account, 429)
    for owner_id in range(2, math.ceil(of_all / of_account) + 1):
        fill(slots, owner_id)
    other, refusal = fill(slots, 0)
    assert (len(other), refusal.status) == (1, 503)
    first[0]()
    slots.acquire(1000)()


def test_no_more_calls_than_slots_are_admitted() -> None:
    slots = slots_for("downloads", 8, 8)
    first, refusal = fill(slots, 1)
    assert (len(first), refusal.status) == (7, 503)  # the eighth is for another account
    second, refusal = fill(slots, 2)
    assert (len(second), refusal.status) == (1, 503)
    third, refusal = fill(slots, 3)
    assert (len(third), refusal.status) == (0, 503)


def test_slot_that_is_freed_twice_is_one() -> None:
    """Closing an answer may be tried again: no other call's slot is given away by it."""
    slots = slots_for("downloads", 8, 2)
    (once, _), _ = fill(slots, 1)
    once()
    once()
    again, refusal = fill(slots, 1)
    assert (len(again), refusal.status) == (1, 429)


def test_slot_is_held_for_the_block_alone() -> None:
    slots = slots_for("downloads", 8, 1)
    with suppress(KeyError), slots.slot(1):
        assert fill(slots, 1)[0] == []
        raise KeyError
    with slots.slot(1):
        assert fill(slots, 1)[0] == []
    assert len(fill(slots, 1)[0]) == 1
