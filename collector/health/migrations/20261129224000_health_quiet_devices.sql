-- +goose Up
-- Where a finding is quiet, and by which act: a job that undoes the act asks for it.
CREATE VIEW health_quiet_devices AS
SELECT quiet_id, device_id, code FROM health_findings WHERE quiet_id IS NOT NULL AND cleared_ms IS NULL;
