"""The tasks service and the Celery workers behind it."""
