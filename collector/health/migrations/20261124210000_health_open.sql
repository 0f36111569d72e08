-- +goose Up
-- What lists, counts and distributions ask: what is open about which device, which
-- build of its system it had when it last told, and how it reached us then.
ALTER TABLE health_state ADD COLUMN os_build TEXT NOT NULL DEFAULT '';
ALTER TABLE health_state ADD COLUMN path TEXT NOT NULL DEFAULT '';    -- code of collector_path
ALTER TABLE health_state ADD COLUMN trouble TEXT NOT NULL DEFAULT ''; -- code of network_trouble
CREATE VIEW health_open_findings AS
SELECT device_id, code, instance, severity, raised_ms FROM health_findings WHERE cleared_ms IS NULL;
DROP VIEW health_devices;
CREATE VIEW health_devices AS
SELECT device_id,
    CASE WHEN session > 0 THEN 1 ELSE 0 END AS connected,
    CASE WHEN latest_seq IS NULL THEN 0 ELSE 1 END AS reported,
    last_contact_day, battery_permille, disk_free_bytes, disk_free_permille, worst, os_build, path, trouble
FROM health_state;
CREATE INDEX health_looks_opened ON health_looks (opened_ms);
