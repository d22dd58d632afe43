"""The reference of the management API: what an account does with itself and its keys, and admins with all."""

from __future__ import annotations

from typing import Any, Final

from handlers.reference import (
    ACCOUNT,
    ADMIN,
    Chapter,
    Endpoint,
    Field,
    Schema,
    array,
    boolean,
    integer,
    listed,
    maybe,
    number,
    record,
    string,
)
from store.keys import PERIODS

ANY: Final[Schema] = {"type": "object"}
WRITES: Final = (400, 403, 413, 503)
MINE: Final = (*WRITES, 404)
KEY_ROW: Final[dict[str, Any]] = {
    "id": integer(),
    "name": string(),
    "prefix": string(),
    "last4": string(),
    "state": string(enum=["active", "inactive", "expired"]),
    "user_id": maybe(integer()),
    "tier": string(),
    "rpm": integer(),
    "tpd": integer(),
    "max_parallel": maybe(integer()),
    "budget_usd": maybe(number()),
    "budget_period": string(enum=list(PERIODS)),
    "models": maybe(array(string())),
    "expires_at": maybe(integer()),
    "disabled_at": maybe(integer()),
    "created_at": integer(),
}
SIGHT: Final = record(
    **KEY_ROW,
    spent_usd=number(),
    budget_resets_at=maybe(integer()),
    last_used_at=maybe(integer()),
    refused=maybe(ANY),
)
NEW_KEY: Final = record(**KEY_ROW, key=string())
KEY_FIELDS: Final = (
    Field("tier", string(), "What limits it has; that of the account if left out. An admin chooses another."),
    Field("rpm", maybe(integer(minimum=1)), "Requests a minute, below the tier's."),
    Field("tpd", maybe(integer(minimum=1)), "Tokens a day, below the tier's."),
    Field("max_parallel", maybe(integer(minimum=1)), "Calls at once."),
    Field("budget_usd", maybe(number(minimum=0)), "What it may spend, to the nano-dollar; null = no bound."),
    Field("budget_period", string(enum=list(PERIODS)), "When that begins anew."),
    Field(
        "models", maybe(array(string(minLength=1), minItems=1)), "The only models it may ask for; null = any."
    ),
    Field("expires_at", {"type": ["integer", "string", "null"]}, "Unix seconds, or a time such as `30d`."),
)
SESSION: Final = record(
    id=integer(),
    kind=string(),
    name=string(),
    address=string(),
    created_at=integer(),
    seen_at=integer(),
    expires_at=integer(),
    is_current=boolean(),
)
USER: Final = record(
    id=integer(),
    email=string(),
    is_admin=boolean(),
    tier=string(),
    created_at=integer(),
    disabled_at=maybe(integer()),
)
DAYS: Final = (
    Field("range", string(enum=["today", "7d", "30d", "custom"]), "Which days; `today` if left out."),
    Field("from", string(format="date"), "The first day (UTC), with `range=custom`."),
    Field("to", string(format="date"), "The last day (UTC)."),
    Field("key", integer(minimum=1, maximum=10**15), "Of this key alone."),
)

ACCOUNTS: Final = Chapter(
    "Your account",
    "With a token from the account's page (`Authorization: Bearer rt-…`), or a session's cookie.",
    (
        Endpoint(
            "GET",
            "/api/v1/me",
            "Who you are",
            "The account that the token or the session is of.",
            ACCOUNT,
            record(
                id=integer(), email=string(), is_admin=boolean(), tier=string(), has_second_factor=boolean()
            ),
        ),
        Endpoint(
            "POST",
            "/api/v1/me/password",
            "Change the password",
            "Ends every other session and token.",
            ACCOUNT,
            record(changed=boolean()),
            body=(
                Field("current", string(), "The password so far.", True),
                Field("new", string(), "The next one: at least ten characters, not easily guessed.", True),
            ),
            statuses=(*WRITES, 429),
        ),
        Endpoint(
            "POST",
            "/api/v1/me/second-factor",
            "Switch the second factor on",
            "With nothing: a secret to scan. With its salt and a code that proves it: the recovery codes.",
            ACCOUNT,
            ANY,
            body=(Field("salt", string(), "As it was drawn."), Field("code", string(), "What it shows now.")),
            statuses=WRITES,
        ),
        Endpoint(
            "DELETE",
            "/api/v1/me/second-factor",
            "Switch it off",
            "Takes the password.",
            ACCOUNT,
            record(deleted=boolean()),
            body=(Field("password", string(), "Of the account.", True),),
            statuses=(*WRITES, 429),
        ),
        Endpoint(
            "GET",
            "/api/v1/me/sessions",
            "List sessions and tokens",
            "Those that are open.",
            ACCOUNT,
            listed(SESSION, object=string()),
        ),
        Endpoint(
            "DELETE",
            "/api/v1/me/sessions/{id}",
            "End one",
            "It is good for nothing from now on.",
            ACCOUNT,
            record(id=integer(), deleted=boolean()),
            statuses=MINE,
        ),
        Endpoint(
            "POST",
            "/api/v1/me/tokens",
            "Make a token",
            "It is shown this once.",
            ACCOUNT,
            record(name=string(), token=string()),
            201,
            body=(Field("name", string(minLength=1, maxLength=100), "What it is for.", True),),
            statuses=WRITES,
            example='{"name": "deployment"}',
        ),
    ),
)
KEYS: Final = Chapter(
    "API keys",
    "Your own; an admin reaches everybody's.",
    (
        Endpoint(
            "GET",
            "/api/v1/keys",
            "List keys",
            "With what they have spent in their budget's window.",
            ACCOUNT,
            listed(SIGHT, object=string()),
            query=(Field("all", string(enum=["true", "false"]), "`true`: everybody's, for admins."),),
        ),
        Endpoint(
            "POST",
            "/api/v1/keys",
            "Make a key",
            "Its plaintext, `key`, is shown this once.",
            ACCOUNT,
            NEW_KEY,
            201,
            body=(Field("name", string(minLength=1, maxLength=200), "What it is for.", True), *KEY_FIELDS),
            statuses=WRITES,
            example='{"name": "laptop", "budget_usd": 5, "budget_period": "month"}',
        ),
        Endpoint("GET", "/api/v1/keys/{id}", "One key", "As in the list.", ACCOUNT, SIGHT, statuses=(404,)),
        Endpoint(
            "PATCH",
            "/api/v1/keys/{id}",
            "Change a key",
            "The fields that are given; null takes a limit back.",
            ACCOUNT,
            record(**KEY_ROW),
            body=(
                Field("name", string(minLength=1, maxLength=200), "What it is for."),
                *KEY_FIELDS,
                Field("reset_spend", boolean(), "`true`: the budget's window begins now. For admins."),
            ),
            statuses=MINE,
            example='{"budget_usd": 20}',
        ),
        Endpoint(
            "POST",
            "/api/v1/keys/{id}/deactivate",
            "Deactivate a key",
            "Calls with it are refused at once.",
            ACCOUNT,
            record(**KEY_ROW),
            statuses=MINE,
        ),
        Endpoint(
            "POST",
            "/api/v1/keys/{id}/activate",
            "Activate a key",
            "Takes that back.",
            ACCOUNT,
            record(**KEY_ROW),
            statuses=MINE,
        ),
        Endpoint(
            "POST",
            "/api/v1/keys/{id}/rotate",
            "Rotate a key",
            "A new secret, shown this once, on the same budget.",
            ACCOUNT,
            NEW_KEY,
            body=(Field("grace", string(), "How long the old one is good, such as `24h`."),),
            statuses=MINE,
            example='{"grace": "24h"}',
        ),
    ),
)
USAGE: Final = Chapter(
    "Usage",
    "Of your own keys; for admins, of all. Money is in nano-dollars, and in USD beside it.",
    (
        Endpoint(
            "GET",
            "/api/v1/usage",
            "Sums",
            "In all, over time, by model and by key.",
            ACCOUNT,
            record(total=ANY, series=array(ANY), in_flight=integer(), step_hours=integer()),
            query=(*DAYS, Field("by", string(enum=["model", "key", "provider"]), "Divided by this alone.")),
            statuses=(400, 503),
        ),
        Endpoint(
            "GET",
            "/api/v1/requests",
            "The log of requests",
            "The newest first; `older` is the next page's `before`.",
            ACCOUNT,
            listed(ANY, older=maybe(string()), is_cut=boolean()),
            query=(
                Field("key", integer(minimum=1, maximum=10**15), "Of this key."),
                Field("model", string(maxLength=512), "Of this model."),
                Field("provider", string(maxLength=512), "Served by this provider."),
                Field(
                    "status",
                    string(),
                    "`ok`, `error`, `timeout`, `client_gone`, `lost`, or `failed` for all but ok.",
                ),
                Field("source", string(), "How the cost came about."),
                Field("request_id", string(), "How the id begins."),
                Field("from", string(), "A day or a time (UTC)."),
                Field("to", string(), "A day or a time (UTC)."),
                Field("before", string(), "The page after the one that said so."),
                Field("limit", integer(minimum=0, maximum=200), "Rows a page; 50 if left out."),
            ),
            statuses=(400, 503),
        ),
        Endpoint(
            "GET",
            "/api/v1/models",
            "The catalogue",
            "With prices, sizes and health.",
            ACCOUNT,
            listed(ANY),
        ),
    ),
)
OPERATION: Final = Chapter(
    "Administration",
    "For admins.",
    (
        Endpoint(
            "GET", "/api/v1/users", "List accounts", "All of them.", ADMIN, listed(USER, object=string())
        ),
        Endpoint("GET", "/api/v1/users/{id}", "One account", "As in the list.", ADMIN, USER, statuses=(404,)),
        Endpoint(
            "PATCH",
            "/api/v1/users/{id}",
            "Change an account",
            "The fields that are given.",
            ADMIN,
            USER,
            body=(
                Field("tier", string(), "What its next keys get."),
                Field("is_admin", boolean(), "May it do all this?"),
                Field("is_disabled", boolean(), "`true`: its sessions, tokens and keys are refused."),
            ),
            statuses=MINE,
            example='{"tier": "pro"}',
        ),
        Endpoint(
            "GET",
            "/api/v1/invites",
            "List invitations",
            "Without their links.",
            ADMIN,
            listed(ANY, object=string()),
        ),
        Endpoint(
            "POST",
            "/api/v1/invites",
            "Invite somebody",
            "The link, `url`, is shown this once and is good for a week.",
            ADMIN,
            record(id=integer(), tier=string(), url=string()),
            201,
            body=(Field("tier", string(), "What the account's keys get.", True),),
            statuses=WRITES,
            example='{"tier": "free"}',
        ),
        Endpoint(
            "DELETE",
            "/api/v1/invites/{id}",
            "Take an invitation back",
            "If it has not been used.",
            ADMIN,
            record(id=integer(), deleted=boolean()),
            statuses=MINE,
        ),
        Endpoint(
            "GET",
            "/api/v1/audit",
            "The log of changes",
            "A hundred at a time, the newest first.",
            ADMIN,
            listed(ANY, object=string()),
            query=(
                Field("below", integer(minimum=0, maximum=10**15 - 1), "Only rows older than this one."),
                Field("subject", string(maxLength=100), "Only changes of this row, such as `key 7`."),
            ),
            statuses=(400,),
        ),
        Endpoint(
            "GET",
            "/api/v1/providers",
            "The providers",
            "How they do, and which secrets rest.",
            ADMIN,
            listed(ANY),
        ),
        Endpoint(
            "POST",
            "/api/v1/providers/{name}/test",
            "Test a provider",
            "Reads its list of models with each of its secrets, which is free.",
            ADMIN,
            listed(
                record(
                    fingerprint=string(),
                    models=maybe(integer()),
                    latency_ms=maybe(integer()),
                    failure=string(),
                )
            ),
            statuses=(403, 404),
        ),
        Endpoint(
            "GET",
            "/api/v1/state",
            "The gateway's state",
            "What is wrong with it, in words.",
            ADMIN,
            record(word=string(), said=string(), limiter=string(), ledger=string(), in_flight=integer()),
        ),
    ),
)
