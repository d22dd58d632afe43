"""GET /v1/models, /v1/models/{id} and /v1/models/status. Open to all by default, reads memory only."""

from __future__ import annotations

from handlers.gate import Gate
from handlers.inference import Authenticator
from handlers.key_info import KeyedHandler
from handlers.model_pages import ModelPages


class CatalogHandler(KeyedHandler):
    """Asks for a key first where the operator keeps the catalogue to its users (`public_catalog = false`)."""

    def initialize(  # type: ignore[override]
        self, pages: ModelPages, is_public: bool, authenticator: Authenticator, gate: Gate
    ) -> None:
        super().initialize(authenticator, gate)
        self.pages = pages
        self._is_public = is_public

    async def prepare(self) -> None:
        if not self._is_public:
            await self.find_key()


class ModelsHandler(CatalogHandler):
    """The list of public models."""

    async def get(self) -> None:
        self.write(await self.pages.models())


class ModelHandler(CatalogHandler):
    """One model. Raises ModelNotFound (404)."""

    async def get(self, model_id: str) -> None:
        self.write(self.pages.model(model_id))


class StatusHandler(CatalogHandler):
    """Every model at each of its providers, and how it does."""

    async def get(self) -> None:
        self.write(await self.pages.status())
