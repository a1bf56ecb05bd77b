"""Rows that the worker machine owns; `psg` owns their schema."""

from worker_server.models.base import Base
from worker_server.models.files import Brand, BrandDefault, Upload
from worker_server.models.operation import (
    MetricIncrement,
    MetricTotal,
    QueuePause,
    Retention,
    Sweep,
    UsageDay,
    Worker,
)
from worker_server.models.tasks import Batch, Part, Removal, Task, TaskEvent
from worker_server.models.webhooks import CallbackSecret, Webhook, WebhookDelivery

__all__ = [
    "Base",
    "Batch",
    "Brand",
    "BrandDefault",
    "CallbackSecret",
    "MetricIncrement",
    "MetricTotal",
    "Part",
    "QueuePause",
    "Removal",
    "Retention",
    "Sweep",
    "Task",
    "TaskEvent",
    "Upload",
    "UsageDay",
    "Webhook",
    "WebhookDelivery",
    "Worker",
]
