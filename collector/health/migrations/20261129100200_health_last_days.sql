-- +goose Up
-- What lists of devices show of the last day that a device told of.
CREATE VIEW health_last_days AS
SELECT d.device_id, d.day, d.battery_health, d.memory_total, d.boot_duration, d.updates_pending
FROM health_days d WHERE d.day = (SELECT MAX(l.day) FROM health_days l WHERE l.device_id = d.device_id);
