-- What people sign in with, and who changed what. Times are Unix seconds; secrets are kept as SHA-256 digests.
-- tier: what an account's own keys get. totp_salt: NULL = no second factor; the secret itself is derived from
-- it and the key that signs cookies. totp_step: the last time step whose code was taken, so that each is good once.
ALTER TABLE users ADD COLUMN tier TEXT NOT NULL DEFAULT 'free';
ALTER TABLE users ADD COLUMN totp_salt TEXT;
ALTER TABLE users ADD COLUMN totp_step INTEGER NOT NULL DEFAULT 0;

-- Who deactivated a key: an account may only take its own deactivation back. NULL = the command line.
ALTER TABLE api_keys ADD COLUMN disabled_by INTEGER;

-- kind: browser (a cookie) or token (the management API's).
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('browser', 'token')),
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_id);

-- Links that are good once. kind: invite (an account) or setup (the first admin's).
CREATE TABLE invites (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('invite', 'setup')),
    tier TEXT NOT NULL,
    created_by INTEGER REFERENCES users (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    used_by INTEGER REFERENCES users (id)
);

-- What gets an account in that has lost its second factor; each is good once.
CREATE TABLE recovery_codes (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    PRIMARY KEY (user_id, digest)
) WITHOUT ROWID;

-- Failed logins by account and by address: who failed too often waits.
CREATE TABLE login_failures (
    name TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX login_failures_by_time ON login_failures (last_at);

-- Every change: who (an account, or user_id NULL and a word for it), by which way (page, api, command line),
-- what was done to which row, and the row before and after as JSON without secrets.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    user_id INTEGER,
    actor TEXT NOT NULL,
    way TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT
);
