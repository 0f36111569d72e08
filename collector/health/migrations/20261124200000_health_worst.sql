-- +goose Up
-- The severity of a device's worst open finding, 0 = none is open: lists show it
-- without looking at findings. Kept by whatever opens and closes them.
ALTER TABLE health_state ADD COLUMN worst BIGINT NOT NULL DEFAULT 0;
UPDATE health_state SET worst = COALESCE((SELECT MAX(f.severity) FROM health_findings f
    WHERE f.device_id = health_state.device_id AND f.cleared_ms IS NULL), 0);
DROP VIEW health_devices;
CREATE VIEW health_devices AS
SELECT device_id,
    CASE WHEN session > 0 THEN 1 ELSE 0 END AS connected,
    CASE WHEN latest_seq IS NULL THEN 0 ELSE 1 END AS reported,
    last_contact_day, battery_permille, disk_free_bytes, disk_free_permille, worst
FROM health_state;
