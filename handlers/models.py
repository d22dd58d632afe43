"""GET /v1/models and /v1/models/{id}: what can be called here. Open to all, reads memory only."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from providers.router import PublicModel, Router


class ModelsHandler(BaseHandler):
    """The list of public models."""

    def initialize(self, router: Router) -> None:
        self._router = router

    async def get(self) -> None:
        self.write_json({"object": "list", "data": [row(model) for model in self._router.models()]})


class ModelHandler(BaseHandler):
    """One model. Raises ModelNotFound (404)."""

    def initialize(self, router: Router) -> None:
        self._router = router

    async def get(self, model_id: str) -> None:
        self.write_json(row(self._router.model(model_id)))


def row(model: PublicModel) -> dict[str, Any]:
    """A model in the reference's shape."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
