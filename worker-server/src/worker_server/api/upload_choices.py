"""Which uploads the items of a batch name, and what is wrong with those."""

import uuid
from collections.abc import Mapping

from idrl_common.problems import FieldError
from worker_server.api.schemas import NewTask
from worker_server.queue import uploads

# HTTP status and code for a single upload_id.
UPLOAD_PROBLEMS: Mapping[type[Exception], tuple[int, str]] = {
    uploads.UploadNotFound: (404, "upload_not_found"),
    uploads.UploadGone: (410, "upload_gone"),
    uploads.UploadUsed: (409, "upload_used"),
    uploads.UploadUnfinished: (409, "upload_unfinished"),
}


def upload_errors(owner_id: int, items: Mapping[int, NewTask]) -> list[FieldError]:
    """Return an error for each item whose upload cannot be used, or an earlier item uses."""
    chosen = {index: uuid.UUID(item.upload_id) for index, item in items.items() if item.upload_id}
    refusals = uploads.refusals(owner_id, set(chosen.values()))
    errors, seen = [], set[uuid.UUID]()
    for index, upload_id in chosen.items():
        refusal = refusals.get(upload_id)
        if refusal is None and upload_id in seen:
            refusal = uploads.UploadUsed("An item before this one has the upload.")
        if refusal is not None:
            errors.append(_error(index, refusal))
        seen.add(upload_id)
    return errors


def _error(index: int, refusal: Exception) -> FieldError:
    field = f"items.{index}.upload_id"
    _, code = UPLOAD_PROBLEMS[type(refusal)]
    return {"field": field, "code": code, "message": str(refusal)}
