-- +goose Up
-- What happened to devices, in the order of its commit, for who wants to hear of it
-- at once or after a break. mark tells a row from another one of this number in the
-- time before a backup was restored.
CREATE TABLE health_changes (
    id BIGINT PRIMARY KEY,
    mark BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    instance TEXT NOT NULL,
    severity BIGINT NOT NULL
);
CREATE VIEW health_device_changes AS SELECT id, device_id FROM health_changes;
