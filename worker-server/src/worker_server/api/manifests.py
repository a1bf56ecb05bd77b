"""The manifest of a task: what its clips are, for programs."""

from typing import Any

from worker_server.api.archive_queries import ArchivedTask, FinishedPart
from worker_server.api.clip_names import clip_names, stem_of
from worker_server.api.labels import default_name
from worker_server.api.schemas import part_link, source_document


def manifest(task: ArchivedTask) -> dict[str, Any]:
    """Return the manifest of the parts that are done; it changes only when they do."""
    parts = task["parts"] or []
    source = task["source"] or {}
    return {
        "task_id": task["id"],
        "name": task_name(task),
        "external_id": task["external_id"],
        "metadata": task["metadata"],
        "url": task["url"] or None,
        "created_at": task["created_at"],
        "source": source_document(source) if source else None,
        "frame_rate": source.get("frame_rate"),
        "edit": task.get("edit"),
        "parts": [
            _part(task["id"], part, file)
            for part, file in zip(parts, file_names(task), strict=True)
        ],
        "link": f"/tasks/{task['id']}",
    }


def task_name(task: ArchivedTask) -> str:
    """Return the caller's name of the task, or the URL's."""
    return task["name"] or default_name(task["url"])


def file_names(task: ArchivedTask) -> list[str]:
    """Return the name in a ZIP of each finished part."""
    return clip_names(stem_of(task_name(task)), task["parts"] or [], task["parts_total"] or 0)


def _part(task_id: str, part: FinishedPart, file: str) -> dict[str, Any]:
    return {
        "number": part["number"],
        "segment": part["segment"],
        "name": part["name"],
        "file": file,
        "start_s": part["start_s"],
        "end_s": part["end_s"],
        "start_frame": part["start_frame"],
        "end_frame": part["end_frame"],
        "frames": part["frames"],
        "size_bytes": part["size_bytes"],
        "sha256": part["sha256"],
        "rendered_by": part["rendered_by"],
        "concealed_frames": part["concealed_frames"],
        "link": part_link(task_id, part["number"]),
    }
