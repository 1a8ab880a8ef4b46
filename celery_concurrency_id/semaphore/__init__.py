"""The distributed semaphore: knows Redis, not Celery."""
