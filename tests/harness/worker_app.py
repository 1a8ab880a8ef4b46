"""What ``celery -A harness.worker_app`` loads: in worker and beat processes only."""

from __future__ import annotations

import json
import os

from harness.app import make_app

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))
