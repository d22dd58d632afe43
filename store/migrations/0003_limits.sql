-- How many calls of a key may be under way at once; NULL = any number.
ALTER TABLE api_keys ADD COLUMN max_parallel INTEGER;

-- What the operator has changed of past costs, so that limiters that have counted them hear of it.
CREATE TABLE corrections (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id INTEGER NOT NULL,
    window INTEGER NOT NULL,
    nanodollars INTEGER NOT NULL,
    corrected_at INTEGER NOT NULL
);
