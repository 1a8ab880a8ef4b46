"""The live page: as a WSGI application, and in a browser with real workers."""
