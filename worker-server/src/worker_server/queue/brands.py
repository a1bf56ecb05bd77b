"""Rows of brands: those of an account, its default, and which of the deleted ones tasks need."""

import uuid
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from idrl_common.cursors import Position, newest_first
from worker_server.db import PreparedQuery, fetch_json, transaction
from worker_server.models import Brand, BrandDefault, Task
from worker_server.queue.sql_common import ScopedSession, lock_for_owner, may_still_render

BUILT_IN, NONE = "built-in", "none"
MAX_BRANDS = 100
# A failed task can be retried with its deleted brand for this long.
KEPT_HOURS = 24
# A task is stored shortly after the check that its brand exists.
_GRACE = timedelta(minutes=1)
# Key of an advisory lock, unique within the database.
_LOCK = 0xB4A9D
_DEFAULT = PreparedQuery(
    "brand_default",
    "bigint",
    "SELECT to_json(brand_id)::text FROM brand_defaults WHERE owner_id = $1",
)


class BrandNotFound(Exception):
    """The account has no such brand."""

    def __init__(self) -> None:
        super().__init__("This account has no such brand.")


class TooManyBrands(Exception):
    """The account has the maximum number of brands."""


def create(
    brand: Brand, publish: Callable[[], None], check: Callable[[ScopedSession], None]
) -> None:
    """Store the new brand once `publish` has put its files on the share; raise TooManyBrands.

    `check` raises where the transaction's new row must not stay. Files that were published then
    belong to no brand, and the sweeper removes them.
    """
    with transaction() as session:
        _lock_files(session, brand.owner_id)
        owned = select(func.count()).where(Brand.owner_id == brand.owner_id, _is_listed())
        if (session.scalar(owned) or 0) >= MAX_BRANDS:
            message = f"This account may have at most {MAX_BRANDS} brands; delete one first."
            raise TooManyBrands(message)
        publish()
        session.add(brand)
        session.flush()
        check(session)


def find(owner_id: int, brand_id: uuid.UUID) -> Brand:
    """Return the brand; raise BrandNotFound, also where it is deleted."""
    with transaction() as session:
        owned = select(Brand).where(Brand.id == brand_id, Brand.owner_id == owner_id, _is_listed())
        brand = session.scalar(owned)
        if brand is None:
            raise BrandNotFound
        return brand


def list_brands(owner_id: int, limit: int, after: Position | None = None) -> list[Brand]:
    """Return the account's brands after the position `after`, newest first."""
    owned = select(Brand).where(Brand.owner_id == owner_id, _is_listed())
    page = newest_first(owned, (Brand.created_at, Brand.id), limit, after)
    with transaction() as session:
        return list(session.scalars(page))


def delete_brand(owner_id: int, brand_id: uuid.UUID) -> None:
    """Take the brand from the list; raise BrandNotFound.

    Tasks that use it keep it. If it was the default, the built-in brand becomes the default.
    """
    with transaction() as session:
        owned = update(Brand).where(Brand.id == brand_id, Brand.owner_id == owner_id, _is_listed())
        if session.scalar(owned.values(deleted_at=func.now()).returning(Brand.id)) is None:
            raise BrandNotFound
        chosen = (BrandDefault.owner_id == owner_id, BrandDefault.brand_id == str(brand_id))
        session.execute(delete(BrandDefault).where(*chosen))


def default_of(owner_id: int) -> str:
    """Return the brand of tasks that name none."""
    chosen: str | None = fetch_json(_DEFAULT, owner_id)
    return chosen or BUILT_IN


def set_default(owner_id: int, brand_id: str | None) -> str:
    """Choose the brand of later tasks that name none, the built-in one with None.

    Raise BrandNotFound.
    """
    with transaction() as session:
        if brand_id is None:
            session.execute(delete(BrandDefault).where(BrandDefault.owner_id == owner_id))
            return BUILT_IN
        # FOR UPDATE: a concurrent deletion of the brand waits, and then sees the default's row.
        if brand_id not in _existing(session, owner_id, [brand_id], locked=True):
            raise BrandNotFound
        row = insert(BrandDefault).values(owner_id=owner_id, brand_id=brand_id)
        session.execute(
            row.on_conflict_do_update(index_elements=["owner_id"], set_={"brand_id": brand_id})
        )
        return brand_id


def resolve(owner_id: int, chosen: Iterable[str | None]) -> dict[str | None, str]:
    """Return the brand id that each choice stands for; choices of unknown brands are left out."""
    choices = set(chosen)
    resolved: dict[str | None, str] = {each: each for each in (BUILT_IN, NONE)}
    if choices <= set(resolved):
        return resolved
    if None in choices:  # the common case: one prepared query, no transaction
        resolved[None] = default_of(owner_id)
    if not choices <= set(resolved):
        with transaction() as session:
            resolved |= {each: each for each in _existing(session, owner_id, choices)}
    return resolved


def spec_for_task(owner_id: int, brand_id: str) -> dict[str, Any] | None:
    """Return the spec of a task's brand, deleted or not; None once its row is removed."""
    with transaction() as session:
        where = (Brand.id == uuid.UUID(brand_id), Brand.owner_id == owner_id)
        return session.scalar(select(Brand.spec).where(*where))


def delete_unneeded_rows(limit: int) -> None:
    """Remove the rows of deleted brands that no task needs, except locked ones."""
    unneeded = select(Brand.id).where(
        Brand.deleted_at < func.now() - _GRACE, ~exists().where(_task_needs_brand())
    )
    with transaction() as session:
        free = unneeded.limit(limit).with_for_update(skip_locked=True)
        session.execute(delete(Brand).where(Brand.id.in_(free)))


def remove_unused(
    owner_id: int, names: Collection[str], remove: Callable[[Collection[str]], None]
) -> None:
    """Call `remove` with files no brand of the owner uses, under the lock that `create` takes."""
    with transaction() as session:
        _lock_files(session, owner_id)
        used = select(func.unnest(Brand.files)).where(Brand.owner_id == owner_id)
        unused = set(names) - set(session.scalars(used))
        if unused:
            remove(unused)


def sum_bytes(session: ScopedSession, owner_id: int) -> int:
    """Return how many bytes the account's brands take, with deleted ones that a task needs."""
    is_kept = or_(_is_listed(), exists().where(_task_needs_brand()))
    kept = select(func.coalesce(func.sum(Brand.size_bytes), 0))
    return int(session.scalar(kept.where(Brand.owner_id == owner_id, is_kept)) or 0)


def _existing(
    session: ScopedSession, owner_id: int, chosen: Iterable[str | None], *, locked: bool = False
) -> set[str]:
    names = {each for each in chosen if each is not None}
    ids = {uuid.UUID(each): each for each in names - {BUILT_IN, NONE}}
    owned = select(Brand.id).where(Brand.id.in_(ids), Brand.owner_id == owner_id, _is_listed())
    brand_ids = session.scalars(owned.with_for_update() if locked else owned)
    return {ids[each] for each in brand_ids} | (names & {BUILT_IN, NONE})


def _is_listed() -> ColumnElement[bool]:
    return Brand.deleted_at.is_(None)


def _task_needs_brand() -> ColumnElement[bool]:
    """Return whether a task may still be rendered with the brand."""
    return and_(
        Task.owner_id == Brand.owner_id,
        Task.edit["brand_id"].astext == cast(Brand.id, Text),
        may_still_render(KEPT_HOURS),
    )


def _lock_files(session: ScopedSession, owner_id: int) -> None:
    lock_for_owner(session, _LOCK, owner_id)
