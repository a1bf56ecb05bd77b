"""What the Celery workers run: fetch, render, sweep, each under a heartbeat."""
