"""What the Celery workers and the sweeper run: fetch, render, sweep."""
