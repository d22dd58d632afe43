"""GET /v1/models and /v1/models/{id}: what can be called here. Open to all by default, reads memory only."""

from __future__ import annotations

from typing import Any

from handlers.gate import Gate
from handlers.inference import Authenticator
from handlers.key_info import KeyedHandler
from providers.router import PublicModel, Router


class CatalogHandler(KeyedHandler):
    """Asks for a key first where the operator keeps the catalogue to its users (`public_catalog = false`)."""

    def initialize(  # type: ignore[override]
        self, router: Router, is_public: bool, authenticator: Authenticator, gate: Gate
    ) -> None:
        super().initialize(authenticator, gate)
        self._router = router
        self._is_public = is_public

    async def prepare(self) -> None:
        if not self._is_public:
            await self.find_key()


class ModelsHandler(CatalogHandler):
    """The list of public models."""

    async def get(self) -> None:
        self.write_json({"object": "list", "data": [row(model) for model in self._router.models()]})


class ModelHandler(CatalogHandler):
    """One model. Raises ModelNotFound (404)."""

    async def get(self, model_id: str) -> None:
        self.write_json(row(self._router.model(model_id)))


def row(model: PublicModel) -> dict[str, Any]:
    """A model in the reference's shape."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
