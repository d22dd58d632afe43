"""GET /docs, this gateway's API reference, and GET /openapi.json, the same for programs."""

from __future__ import annotations

import ujson

from handlers import errors, openapi
from handlers.base import BaseHandler
from handlers.catalogue import Catalogue
from handlers.page import ANONYMOUS, PageHandler, Site
from handlers.reference import Endpoint, Field
from handlers.reference_calls import CATALOGUE, INFERENCE
from handlers.reference_management import ACCOUNTS, KEYS, OPERATION, USAGE
from handlers.reference_webhooks import WEBHOOKS
from store.settings import Settings

CHAPTERS = (INFERENCE, CATALOGUE, KEYS, USAGE, ACCOUNTS, OPERATION, WEBHOOKS)
VERSION = "0.1.0"


class DocsHandler(PageHandler):
    """The reference in words. What models there are is told to whoever may read their list."""

    role = ANONYMOUS
    section = "docs"

    def initialize(  # type: ignore[override]
        self, site: Site, settings: Settings, catalogue: Catalogue
    ) -> None:
        super().initialize(site)
        self.configured = settings
        self.catalogue = catalogue

    async def get(self) -> None:
        may_see = self.configured.server.public_catalog or self.account is not None
        models = await self.catalogue.models() if may_see else []
        self.page(
            "docs.html",
            chapters=CHAPTERS,
            models=models,
            model=self.site.first_model() if may_see else "MODEL",
            tiers=self.configured.limits.tiers,
            ip_rpm=self.configured.limits.ip_rpm,
            refusals=refusals(),
            call=self.call,
            kind=kind,
        )

    def call(self, endpoint: Endpoint) -> str:
        """It as a curl command."""
        secret = "sk-your-api-key" if endpoint.path.startswith("/v1") else "rt-your-token"
        lines = [f"curl {self.base_url}{endpoint.path}"]
        if endpoint.method not in ("GET", "POST") or (endpoint.method == "POST" and not endpoint.example):
            lines[0] = f"curl -X {endpoint.method} {self.base_url}{endpoint.path}"
        if endpoint.who:
            lines.append(f'-H "Authorization: Bearer {secret}"')
        if endpoint.example:
            lines += ['-H "Content-Type: application/json"', f"-d '{endpoint.example}'"]
        return " \\\n  ".join(lines)


class OpenApiHandler(BaseHandler):
    """The document of this gateway."""

    def initialize(self, site: Site, is_public: bool) -> None:
        self._site = site
        self._is_public = is_public

    async def get(self) -> None:
        base_url = self._site.public_url.rstrip("/") or f"{self.request.protocol}://{self.request.host}"
        told = openapi.document(CHAPTERS, base_url, VERSION, self.model)
        self.write(ujson.dumps(told, escape_forward_slashes=False))

    @property
    def model(self) -> str:
        """For examples, where everybody may know what there is."""
        return self._site.first_model() if self._is_public else "MODEL"


def refusals() -> list[tuple[int, str, str]]:
    """Status, code and meaning of what the gateway answers by itself, by the one table."""
    rows = {**errors.REFUSALS, **errors.LIMITS}
    known = {(row.status, row.code or "", row.message) for row in rows.values() if row.code}
    return sorted(known)


def kind(field: Field) -> str:
    """A field's type in a word or two."""
    told = field.schema.get("type", "object")
    names = [told] if isinstance(told, str) else told
    return " or ".join(name for name in names if name != "null")
