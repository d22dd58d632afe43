"""The management API on keys: list, make, look at, change, activate, deactivate, rotate."""

from __future__ import annotations

from handlers import key_fields
from handlers.key_keeping import key_row, sight_row
from handlers.page_rooms import DeskApiHandler
from store.errors import Invalid


class KeysApiHandler(DeskApiHandler):
    """One's own keys, with ?all=true an admin's view of everybody's; POST makes one, shown this once."""

    async def get(self) -> None:
        of_all = self.get_query_argument("all", "") == "true"
        sights = await self.keys.list(self.signed_in, of_all=of_all)
        self.write_json({"object": "list", "data": [sight_row(sight) for sight in sights]})

    async def post(self) -> None:
        fields = key_fields.from_json(self.document(), is_new=True)
        key, plaintext = await self.keys.create(self.signed_in, fields, by=self.actor)
        self.set_status(201)
        self.write_json({**key_row(key), "key": plaintext})


class KeyApiHandler(DeskApiHandler):
    """One key; PATCH changes the fields that are given."""

    async def get(self, key_id: str) -> None:
        self.write_json(sight_row(await self.keys.find(self.signed_in, int(key_id))))

    async def patch(self, key_id: str) -> None:
        fields = key_fields.from_json(self.document(), is_new=False)
        self.write_json(key_row(await self.keys.update(self.signed_in, int(key_id), fields, by=self.actor)))


class KeyActionApiHandler(DeskApiHandler):
    """POST …/activate, …/deactivate, …/rotate {grace: "24h"}."""

    async def post(self, key_id: str, action: str) -> None:
        account, number, document = self.signed_in, int(key_id), self.document()
        unknown = sorted(set(document) - ({"grace"} if action == "rotate" else set()))
        if unknown:
            raise Invalid("there is no such field here")
        if action == "rotate":
            grace = document.get("grace", "")
            if not isinstance(grace, str):
                raise Invalid("grace: expected a string such as 24h")
            seconds = key_fields.grace_seconds(grace)
            key, plaintext = await self.keys.rotate(account, number, seconds, by=self.actor)
            self.write_json({**key_row(key), "key": plaintext})
            return
        change = self.keys.activate if action == "activate" else self.keys.deactivate
        self.write_json(key_row(await change(account, number, by=self.actor)))
