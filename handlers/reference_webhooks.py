"""The reference of webhooks: who is told what happens, and how he knows that it is from here."""

from __future__ import annotations

from typing import Final

from handlers.reference import ADMIN, Chapter, Endpoint, Field, boolean, integer, listed, record, string

ROW: Final = record(id=integer(), url=string(), created_at=integer(), told=string())

WEBHOOKS: Final = Chapter(
    "Webhooks",
    "Told of budget.nearly_reached (80 %), budget.reached, provider.down and provider.up, by POST with JSON: "
    "type, timestamp (Unix seconds) and data. Signed as the Standard Webhooks have it (webhook-id, "
    "webhook-timestamp, webhook-signature). What is not answered 2xx is sent again, nine times in a day at "
    "the most; webhook-id stays the same.",
    (
        Endpoint(
            "GET",
            "/api/v1/webhooks",
            "List webhooks",
            "With what came of the last message.",
            ADMIN,
            listed(ROW, object=string()),
        ),
        Endpoint(
            "POST",
            "/api/v1/webhooks",
            "Add a webhook",
            "What checks its signatures, secret, is shown this once.",
            ADMIN,
            record(id=integer(), url=string(), secret=string()),
            201,
            body=(Field("url", string(), "Where messages go.", True),),
            statuses=(400, 413, 503),
            example='{"url": "https://example.org/rooya"}',
        ),
        Endpoint(
            "DELETE",
            "/api/v1/webhooks/{id}",
            "Delete a webhook",
            "With what it has not been told yet.",
            ADMIN,
            record(id=integer(), deleted=boolean()),
            statuses=(404, 503),
        ),
        Endpoint(
            "POST",
            "/api/v1/webhooks/{id}/test",
            "Send a test",
            "A message of the type test.",
            ADMIN,
            record(id=integer(), is_sent=boolean()),
            statuses=(404, 503),
        ),
    ),
)
