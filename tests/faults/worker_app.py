"""What ``celery -A faults.worker_app`` loads."""

from __future__ import annotations

import json
import os

from faults.app import make_app

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))
