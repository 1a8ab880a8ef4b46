"""Press the three buttons: `python producer.py` (with workers running) queues a dozen images and three thumbnails."""

from __future__ import annotations

from typing import NamedTuple

from tasks import image_gen_1, image_gen_2, image_gen_3, thumbnail


class Job(NamedTuple):
    """One submitted task."""

    id: str
    task: str
    what: str
    on_gpu: bool


PROMPTS = [
    (image_gen_1, "red fox", 2.0),
    (image_gen_2, "green sea", 1.0),
    (image_gen_3, "blue hour", 1.5),
    (image_gen_1, "old tree", 3.0),
    (image_gen_2, "new moon", 1.0),
    (image_gen_3, "tall ship", 2.0),
    (image_gen_1, "small cat", 1.0),
    (image_gen_2, "far hills", 2.5),
    (image_gen_3, "warm rain", 1.0),
    (image_gen_1, "night bus", 1.5),
    (image_gen_2, "paper kite", 1.0),
    (image_gen_3, "last snow", 2.0),
]
PICTURES = ["red fox", "green sea", "blue hour"]


def press_buttons(speed: float = 1.0) -> list[Job]:
    """Submit everything at once, by plain `delay`.

    Args:
        speed: How many times faster than usual the work goes.

    Returns:
        What was submitted, in order.
    """
    jobs = []
    for task, prompt, seconds in PROMPTS:
        jobs.append(Job(task.delay(prompt, seconds / speed).id, task.name.split(".")[-1], prompt, on_gpu=True))
    for picture in PICTURES:
        jobs.append(Job(thumbnail.delay(picture, 0.5 / speed).id, "thumbnail", picture, on_gpu=False))
    return jobs


if __name__ == "__main__":
    for job in press_buttons():
        print(job.id, job.task, job.what)
