"""GET /v1/models and /v1/models/{id}: what can be called here. Open to all by default, reads memory only."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from handlers.inference import Authenticator
from providers.router import PublicModel, Router


class CatalogHandler(BaseHandler):
    """Asks for a key first where the operator keeps the catalogue to its users (`public_catalog = false`)."""

    def initialize(self, router: Router, guard: Authenticator | None) -> None:
        self._router = router
        self._guard = guard

    async def prepare(self) -> None:
        if self._guard is not None:
            authorization = self.request.headers.get("Authorization")
            digest, key = self._guard.find(authorization.encode("latin-1") if authorization else None)
            if key is None:
                await self._guard.look_up(digest)


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
