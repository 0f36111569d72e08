-- +goose Up
-- One row per device that ever connected or reported. session is the number of
-- its open session, 0 = none. epoch is the spool that the device uses now, as
-- its last Hello or a batch of a new spool said; only reports of that spool
-- become the latest state, which is the report (latest_spool, latest_seq).
CREATE TABLE health_state (
    device_id TEXT PRIMARY KEY,
    session BIGINT NOT NULL,
    epoch BYTEA,
    last_contact_day BIGINT NOT NULL,
    latest_spool BIGINT,
    latest_seq BIGINT,
    battery_permille BIGINT,
    disk_free_bytes BIGINT,
    disk_free_permille BIGINT
);

-- A spool of a device, and the highest sequence of it that is stored or stepped
-- over. Its short id keeps the rows of reports small. INTEGER and not BIGINT,
-- because that is SQLite's own row number.
CREATE TABLE health_spools (
    id INTEGER PRIMARY KEY,
    device_id TEXT NOT NULL,
    epoch BYTEA NOT NULL,
    last_seq BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    used_ms BIGINT NOT NULL,
    UNIQUE (device_id, epoch)
);

-- One row per report, stored exactly once by its key.
CREATE TABLE health_reports (
    spool BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    device_ms BIGINT NOT NULL,
    collector_ms BIGINT NOT NULL,
    marks BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (spool, seq)
);

-- What a list of devices may know: days, never times of day.
CREATE VIEW health_devices AS
SELECT device_id,
    CASE WHEN session > 0 THEN 1 ELSE 0 END AS connected,
    CASE WHEN latest_seq IS NULL THEN 0 ELSE 1 END AS reported,
    last_contact_day, battery_permille, disk_free_bytes, disk_free_permille
FROM health_state;
