-- What paid probes of models said last, and what they have cost on each day (a UTC day's number since 1970).
CREATE TABLE probes (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    probed_at INTEGER NOT NULL,
    is_up INTEGER,
    latency_ms INTEGER,
    PRIMARY KEY (provider, model)
) WITHOUT ROWID;

CREATE TABLE probe_days (
    day INTEGER PRIMARY KEY,
    nanodollars INTEGER NOT NULL
);
