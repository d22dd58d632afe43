"""The style sheet and the modules of the pages. Their URLs carry a version: browsers keep them for good."""

from __future__ import annotations

from tornado.web import StaticFileHandler

from handlers.base import BaseHandler


class StaticHandler(StaticFileHandler, BaseHandler):  # type: ignore[misc]  # both say what HEAD is
    """A file of `handlers/static`; errors come in the gateway's envelope."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
