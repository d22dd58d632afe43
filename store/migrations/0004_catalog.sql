-- The providers' own lists of their models, and how reading them goes: a row for each configured provider.
-- kind, base_url: where it was read. Times are Unix seconds, NULL = never. due_at: when to read it again, which
-- the process does that puts a later time here, taken_at: when it did. failure: why the last try failed, empty where it did not;
-- is_outage: the provider was not reached or failed itself.
CREATE TABLE catalog_lists (
    provider TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    due_at INTEGER NOT NULL DEFAULT 0,
    taken_at INTEGER NOT NULL DEFAULT 0,
    read_at INTEGER,
    latency_ms INTEGER,
    failing_since INTEGER,
    failure TEXT NOT NULL DEFAULT '',
    is_outage INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- What is in them. type: chat, embedding, image, …; context, max_output: tokens; created: Unix seconds;
-- retires: a date; NULL = the provider does not say. quirks: JSON.
CREATE TABLE catalog_models (
    provider TEXT NOT NULL REFERENCES catalog_lists (provider) ON DELETE CASCADE,
    model TEXT NOT NULL,
    type TEXT NOT NULL,
    context INTEGER,
    max_output INTEGER,
    created INTEGER,
    retires TEXT,
    quirks TEXT NOT NULL,
    PRIMARY KEY (provider, model)
) WITHOUT ROWID;

INSERT INTO versions (name, version) VALUES ('catalog', 1);

-- Every try to read a list sets `failure`, whatever comes of it; who only takes a turn does not.
CREATE TRIGGER catalog_changed AFTER UPDATE OF failure ON catalog_lists
BEGIN UPDATE versions SET version = version + 1 WHERE name = 'catalog'; END;
