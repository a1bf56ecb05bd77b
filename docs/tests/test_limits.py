"""Limits that callers and operators read in documents are those of the code."""

from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from idrl_common import gunicorn_worker, settings as shared, validation
from web_server import (
    accounts,
    authentication,
    gateway,
    passwords,
    share_tokens,
    tasks_client,
    views as web_views,
)
from worker_server import limits
from worker_server.api import (
    archives,
    brand_forms,
    brand_views,
    clips,
    contact_sheets,
    labels,
    long_documents,
    poster_views,
    schemas,
    upload_receiving,
    views,
)
from worker_server.edits import MAX_SEGMENTS, PartSeconds
from worker_server.media.branding import normalize
from worker_server.media.model.edit import PROFILES, Quality
from worker_server.media.model.source import ProbeLimits
from worker_server.media.probing import (
    completeness,
    intermediate,
    normalize_child,
    packet_scan,
    probe_child,
)
from worker_server.media.verifying import poster, sound_level
from worker_server.queue import brands, callbacks, uploads, webhooks, workers
from worker_server.readiness import _MIN_SWEEP_AGE_S

ROOT = Path(__file__).parents[2]
MIB, GIB = 1024**2, 1024**3
PROBE = ProbeLimits()


def _range(field: FieldInfo, low: str = "ge", high: str = "le") -> tuple[str, str]:
    """Return the bounds of a field, by the names that they have in pydantic."""
    bounds: dict[str, Any] = {
        name: getattr(each, name)
        for each in field.metadata
        for name in (low, high)
        if hasattr(each, name)
    }
    return f"{bounds[low]:g}", f"{bounds[high]:g}"


def _lengths(annotated: object) -> str:
    field = FieldInfo.from_annotation(annotated)  # type: ignore[arg-type] # an Annotated[str, …]
    least, most = _range(field, "min_length", "max_length")
    return f"{least}\N{EN DASH}{most}"


ITEMS = _lengths(schemas.NewBatch.model_fields["items"].rebuild_annotation())
PART_S = _range(FieldInfo.from_annotation(PartSeconds))
BRAND = brand_forms.BrandForm.model_fields
BUMPER_S, WIDTH = _range(BRAND["before_s"]), _range(BRAND["watermark_width"])
RETRY_H = [f"{pause_s / 3600:g}" for pause_s in webhooks.RETRY_AFTER_S[3:]]

API = [
    f"gives a token another hour, until {web_views.REFRESH_S // 3600} h after the log-in",
    f"`DELETE /me/keys/<id>` ends one within {authentication.LOOKUP_S:g} s",
    f"- `name` ({_lengths(labels.Name)} characters, one line)",
    f"- `external_id` ({_lengths(labels.ExternalId)} characters)",
    f"at most {labels._MAX_METADATA_BYTES} bytes as compact JSON",
    f"{ITEMS} of them, {shared.MAX_BATCH_BODY_BYTES // MIB} MiB in all",
    f"at most {poster.MAX_WIDTH} pixels wide",
    f"{contact_sheets.MAX_TILES} of them at most, evenly chosen",
    (
        f"`expires_in_s` is {share_tokens.MIN_LIFETIME_S} to {share_tokens.MAX_LIFETIME_S:,}"
        f" ({share_tokens.MAX_LIFETIME_S // 86_400} days), {share_tokens.DEFAULT_LIFETIME_S:,} by"
        " default"
    ),
    f"- An upload expires {uploads.KEPT_HOURS} hours after its last byte",
    f"the longest part, {PART_S[0]} to {PART_S[1]}, one decimal",
    f"up to {MAX_SEGMENTS} time ranges in the order wanted",
    f"more than {limits.MAX_PARTS:,} parts (`edit_too_many_parts`)",
    f"a video of at most {normalize.MAX_VIDEO_S} s",
    f"`after_s` ({BUMPER_S[0]} to {BUMPER_S[1]}, default {BRAND['before_s'].default:g})",
    f"({WIDTH[0]} to {WIDTH[1]}, default {BRAND['watermark_width'].default:g})",
    f"for {brands.KEPT_HOURS} hours after a task with it has failed",
    f"{brands.MAX_BRANDS} brands of {brand_forms.MAX_BYTES // MIB} MiB each",
    f"for `part.done` of a task with more than {webhooks._MAX_STORED_LENGTH // 1024} KiB",
    (
        f"again after {webhooks.RETRY_AFTER_S[0]} s, {webhooks.RETRY_AFTER_S[1] // 60} min,"
        f" {webhooks.RETRY_AFTER_S[2] // 60} min, {', '.join(RETRY_H[:-1])} and {RETRY_H[-1]} h"
    ),
    f"for {callbacks.OVERLAP_HOURS} hours both the new and the",
]
SECURITY = [
    f"keys ({accounts.MAX_KEYS})",
    (
        f"clips and ZIPs ({gunicorn_worker._FILE_THREADS})"
        f" and drawn pictures ({gunicorn_worker._PICTURE_THREADS})"
    ),
    (
        f"{clips._MAX_PARALLEL_PER_ACCOUNT} clips, {archives._MAX_PARALLEL_PER_ACCOUNT} ZIPs,"
        f" {poster_views.MAX_PARALLEL_PICTURES_PER_ACCOUNT} pictures,"
        f" {brand_views._MAX_PARALLEL_PER_ACCOUNT} brands,"
        f" {views._MAX_LONG_LISTS_PER_ACCOUNT} long lists and"
        f" {long_documents._MAX_CALLS_PER_ACCOUNT} long documents of one account"
    ),
    (
        f"JSON bodies of {web_views._MAX_BODY_BYTES // 1024} KiB (accounts),"
        f" {shared.MAX_TASK_BODY_BYTES // 1024} KiB (tasks),"
        f" {shared.MAX_BATCH_BODY_BYTES // MIB} MiB (batches) and"
        f" {shared.MAX_BODY_BYTES // 1024} KiB (others)"
    ),
    f"{validation._MAX_FIELD_ERRORS} field errors at most",
    f"{validation._MAX_STRING_LENGTH:,} characters by default",
    f"one for each core at once and lets {passwords._MAX_QUEUED} more wait, then 503",
    f"in each process one for each core, and {passwords._MAX_QUEUED} that wait",
    f"before its time ({share_tokens.MAX_LIFETIME_S // 86_400} days at most)",
    f"accepted for up to {authentication.LOOKUP_S:g} s",
]
OPERATIONS = [
    f"for {_MIN_SWEEP_AGE_S:g} s or three rounds (`SWEEP_S`), whichever is longer",
    f"no worker of this kind has sent a heartbeat for {workers.ALIVE_S:g} s",
    f"calls wait for it for up to {tasks_client._RESTART_S:g} s",
    f"with less than {gateway._RESERVED_BYTES // GIB} GiB free",
    f"within {authentication.LOOKUP_S:g} s",
]
FORMATS = [
    f"H.264 at CRF {intermediate._CRF} with a key frame each second",
    (
        f"at most {intermediate._MAX_BITS_PER_S // 1_000_000} Mbit/s, and less where the result"
        f" would exceed {intermediate._MAX_BYTES // GIB} GiB"
    ),
    f"may have up to {PROBE.max_streams} video and sound streams",
    (
        f"by more than {packet_scan._BROADCAST_MAX_GAP_S} s (MPEG-TS, MPEG-PS, Ogg) or"
        f" {packet_scan._MAX_GAP_S // 60} min (others)"
    ),
    f"up to {int(normalize_child.MAX_BAD_SHARE * 100)} % of the picture's packets",
    (
        f"(more than {completeness._MISSING_S} s and {int(completeness._MISSING_SHARE * 100)} %"
        " missing)"
    ),
    f"within {sound_level._MAX_DIFFERENCE_DB} dB",
    f"a side of more than {PROBE.max_side} pixels, or more than {PROBE.max_pixels} pixels",
    f"sides of at most {intermediate._MAX_SIDE} pixels",
    (
        f"more than {PROBE.max_streams} streams of picture and sound, {PROBE.max_frames:,} frames"
        f" or {probe_child._MAX_MEASURED_RATE} frames a second"
    ),
]
WORKER_EXAMPLE = [f"empty is {PROFILES[Quality.BALANCED].crf:g}."]
SENTENCES = {
    "docs/api.md": API,
    "docs/security.md": SECURITY,
    "docs/operations.md": OPERATIONS,
    "docs/formats.md": FORMATS,
    "worker-server/.env.example": WORKER_EXAMPLE,
}


@pytest.mark.parametrize("page", SENTENCES)
def test_page_has_the_limits(page: str) -> None:
    text = " ".join((ROOT / page).read_text().split())
    assert [sentence for sentence in SENTENCES[page] if sentence not in text] == []


def test_a_process_has_threads_left_to_refuse_files_and_uploads() -> None:
    files = clips._MAX_PARALLEL + archives._MAX_PARALLEL
    assert files < gunicorn_worker._FILE_THREADS
    uploads = upload_receiving._MAX_PARALLEL + brand_views._MAX_PARALLEL
    assert uploads < gunicorn_worker._UPLOAD_THREADS
