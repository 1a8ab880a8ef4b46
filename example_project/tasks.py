"""Three buttons that generate images on the same GPUs, and one task that needs no GPU."""

from __future__ import annotations

from app import app
from celery_concurrency_id import QueuedTask
from work import pretend_to_work

GPUS = 2


# The three tasks share the queue "gpu_queue" and its limit: at most two of them run at once, over all workers.
@app.task(base=QueuedTask, concurrency_id="gpu_queue", concurrency_limit=GPUS)
def image_gen_1(prompt: str, seconds: float) -> str:
    return pretend_to_work(prompt, seconds)


@app.task(base=QueuedTask, concurrency_id="gpu_queue")
def image_gen_2(prompt: str, seconds: float) -> str:
    return pretend_to_work(prompt, seconds)


@app.task(base=QueuedTask, concurrency_id="gpu_queue")
def image_gen_3(prompt: str, seconds: float) -> str:
    return pretend_to_work(prompt, seconds)


# An ordinary task: it runs at once, however many images wait for a GPU.
@app.task
def thumbnail(picture: str, seconds: float) -> str:
    return pretend_to_work(picture, seconds)
