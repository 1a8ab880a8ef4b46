"""`python -m visitors`: serve the page for workers that run already."""

from __future__ import annotations

from visitors.server import serve

if __name__ == "__main__":
    with serve(8000) as page:
        print(f"page       {page.url}  (Ctrl-C ends it)", flush=True)
        try:
            page.wait()
        except KeyboardInterrupt:
            pass
