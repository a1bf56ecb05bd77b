"""The brand of a part that is to be rendered, and the removal of files that no brand has."""

import logging
from functools import partial
from typing import Any

from worker_server import media, storage
from worker_server.brand_files import brand_file, owners_with_files, remove_files
from worker_server.brand_specs import brand_of
from worker_server.errors import FailureCode, WorkFailed
from worker_server.queue import brands
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_BATCH_SIZE = 100
# A brand's files are published before its row is stored: remove no file younger than this.
_SETTLED_S = 600


def task_brand(edit: dict[str, Any] | None, owner_id: int, settings: Settings) -> media.Brand:
    """Return the brand of a task's edit; raise WorkFailed where it, or a file of it, is gone."""
    chosen = (edit or {}).get("brand_id") or brands.BUILT_IN
    if chosen == brands.NONE:
        return media.Brand()
    if chosen == brands.BUILT_IN:
        logo = settings.logo_path or media.DEFAULT_LOGO
        return media.Brand.of_logo(logo, settings.logo_seconds)
    spec = brands.spec_for_task(owner_id, chosen)
    if spec is None:
        message = "The task's brand was deleted; make the task again with another one."
        raise WorkFailed(FailureCode.BRAND_GONE, message)
    brand = brand_of(spec, partial(brand_file, settings.remote_folder, owner_id))
    _need_files(brand, settings)
    return brand


def _need_files(brand: media.Brand, settings: Settings) -> None:
    """Raise WorkFailed where the share has lost a file: no attempt and no renderer brings it."""
    for path in brand.files:
        if storage.file_is_gone(settings.remote_folder, path):
            _log.error("the share has lost a file of a brand: %s", path)
            message = (
                "The storage has lost a file of the task's brand; make the brand again from the"
                " same files, then retry the task."
            )
            raise WorkFailed(FailureCode.BRAND_GONE, message)


def remove_unneeded_brands(settings: Settings) -> None:
    """Delete the rows of deleted brands that no task needs, and the files that no brand has."""
    brands.delete_unneeded_rows(_BATCH_SIZE)
    for owner_id in owners_with_files(settings.remote_folder):
        try:
            _remove_unused(owner_id, settings)
        except OSError as error:  # continue with the brands of other accounts
            extra = {"owner_id": owner_id, "error": type(error).__name__}
            _log.warning("brand files not removed, retried later", extra=extra)


def _remove_unused(owner_id: int, settings: Settings) -> None:
    remote = settings.remote_folder
    names = storage.old_names(brand_file(remote, owner_id, ""), _SETTLED_S)
    brands.remove_unused(owner_id, names, partial(remove_files, remote, owner_id))
