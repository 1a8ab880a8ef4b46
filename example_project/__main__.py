"""`python example_project`: start two workers (and a Redis, if you name no broker), submit work, show it, clean up."""

from __future__ import annotations

import sys

from demo.run import main

if __name__ == "__main__":
    sys.exit(main())
