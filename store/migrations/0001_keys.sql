-- Accounts, API keys, and the version that tells every process when a cached key may be stale.
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    is_admin INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
);

-- rpm and tpd: NULL = the tier's. models: a JSON array, NULL = any. Times are Unix seconds.
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    user_id INTEGER REFERENCES users (id),
    name TEXT NOT NULL,
    tier TEXT NOT NULL,
    rpm INTEGER CHECK (rpm > 0),
    tpd INTEGER CHECK (tpd > 0),
    budget_nanodollars INTEGER CHECK (budget_nanodollars >= 0),
    budget_period TEXT NOT NULL DEFAULT 'total' CHECK (budget_period IN ('total', 'day', 'week', 'month')),
    spend_reset_at INTEGER,
    models TEXT,
    expires_at INTEGER,
    disabled_at INTEGER,
    created_at INTEGER NOT NULL
);

-- A key has one current secret (expires_at NULL) and, in the grace time of a rotation, older ones.
CREATE TABLE api_key_secrets (
    digest BLOB PRIMARY KEY,
    key_id INTEGER NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    prefix TEXT NOT NULL,
    last4 TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX api_key_secrets_by_key ON api_key_secrets (key_id);

CREATE TABLE versions (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO versions (name, version) VALUES ('keys', 1);

-- Whoever writes (a process, the command line, the sqlite3 shell), the version moves with the change. By a
-- random step: after a copy was put back, no new version is one that Redis still holds entries of.
CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER api_key_secrets_inserted AFTER INSERT ON api_key_secrets
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER api_key_secrets_updated AFTER UPDATE ON api_key_secrets
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER api_key_secrets_deleted AFTER DELETE ON api_key_secrets
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER users_disabled AFTER UPDATE OF disabled_at ON users
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
CREATE TRIGGER users_deleted AFTER DELETE ON users
BEGIN UPDATE versions SET version = version + 1 + abs(random() % 1000000) WHERE name = 'keys'; END;
