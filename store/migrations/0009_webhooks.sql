-- Addresses that are told what happens. salt: what they check a message's signature with is derived from it and
-- the key that signs cookies. Times are Unix seconds.
CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    salt TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

-- One message to one address. due_at: when it is tried next, NULL = no more. told: what came of the last attempt.
CREATE TABLE webhook_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER,
    told TEXT NOT NULL DEFAULT ''
);

CREATE INDEX webhook_messages_due ON webhook_messages (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_messages_of ON webhook_messages (webhook_id, id);

-- What has been told of what, so that of several processes one tells it, and none again after a restart.
CREATE TABLE webhook_marks (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
