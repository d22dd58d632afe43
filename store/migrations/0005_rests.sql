-- Targets that rest after failures, for the other processes and the next start. `secret` is the place of a
-- provider's secret in the settings, -1 for the model itself; `until_ms` is Unix time, 0 when all is well again.
CREATE TABLE target_rests (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    secret INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, model, secret)
) WITHOUT ROWID;

CREATE INDEX target_rests_changed ON target_rests (changed_ms);
