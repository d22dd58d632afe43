-- The ledger: one row per attempt at a provider. request_id begins with its millisecond, so rows are kept in
-- the order of time and a batch is written at the end of the table, however long the table is.
--
-- window: when the key's budget window of the admission began, Unix seconds. status: ok, error, timeout,
-- client_gone, lost (the process died). usage_source: reported, estimated, none (failed before any token),
-- lease (charged at the reserved worst case after a crash), corrected. Times are Unix milliseconds, or
-- milliseconds since the start. details: a JSON object of what is rare, NULL if nothing is.
CREATE TABLE ledger (
    request_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    window INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    is_stream INTEGER NOT NULL,
    status TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    audio_tokens INTEGER NOT NULL,
    cost_nanodollars INTEGER NOT NULL,
    usage_source TEXT NOT NULL,
    price_id INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    first_byte_ms INTEGER,
    total_ms INTEGER NOT NULL,
    details TEXT,
    PRIMARY KEY (request_id, attempt)
) WITHOUT ROWID;

-- The prices that rows were charged at. price: JSON as in providers/pricing.py; 0 stands for no price known.
CREATE TABLE ledger_prices (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    price TEXT NOT NULL,
    UNIQUE (source, price)
);

INSERT INTO ledger_prices (id, source, price) VALUES (0, 'unpriced', '');

-- What retention has deleted from the ledger, so that its sums stay exact.
CREATE TABLE ledger_closed (
    key_id INTEGER NOT NULL,
    window INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    cost_nanodollars INTEGER NOT NULL,
    PRIMARY KEY (key_id, window)
) WITHOUT ROWID;

-- What a key has spent in each of its budget's windows, deleted rows included.
CREATE TABLE key_spend (
    key_id INTEGER NOT NULL,
    window INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    cost_nanodollars INTEGER NOT NULL,
    PRIMARY KEY (key_id, window)
) WITHOUT ROWID;

-- Sums by hour and by day (Unix time in hours and in days), never deleted. requests counts first attempts.
CREATE TABLE usage_hourly (
    hour INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost_nanodollars INTEGER NOT NULL,
    PRIMARY KEY (hour, key_id, model, provider)
) WITHOUT ROWID;

CREATE TABLE usage_daily (
    day INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost_nanodollars INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, model, provider)
) WITHOUT ROWID;

-- Tokens of a key by ten minutes (Unix time / 600), kept for 25 hours: what refills a limiter's window.
CREATE TABLE key_tokens (
    slice INTEGER NOT NULL,
    key_id INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (slice, key_id)
) WITHOUT ROWID;

-- How far each slot's journal has been moved into the tables above. starts counts who has owned the slot.
CREATE TABLE journal_slots (
    slot INTEGER PRIMARY KEY,
    starts INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    position INTEGER NOT NULL
);

-- Prices by the provider's own words for its models, as last resolved. tariff: JSON as in providers/pricing.py.
CREATE TABLE prices (
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    model TEXT NOT NULL,
    source TEXT NOT NULL,
    tariff TEXT NOT NULL,
    resolved_at INTEGER NOT NULL,
    PRIMARY KEY (kind, base_url, model)
) WITHOUT ROWID;

INSERT INTO versions (name, version) VALUES ('prices', 1);

CREATE TRIGGER prices_inserted AFTER INSERT ON prices
BEGIN UPDATE versions SET version = version + 1 WHERE name = 'prices'; END;
CREATE TRIGGER prices_updated AFTER UPDATE ON prices
BEGIN UPDATE versions SET version = version + 1 WHERE name = 'prices'; END;
