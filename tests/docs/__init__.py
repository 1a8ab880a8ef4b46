"""The documentation is run: every sample of README.md and docs/ on real servers, and every claim that can be looked up.

``samples`` reads the Markdown, ``session`` runs the samples of a page.
"""
