-- +goose Up
-- When the last session of a device began, and when it was last heard of; both open
-- with a look only and go when values by the minute go. NULL = unknown or gone.
ALTER TABLE health_state ADD COLUMN began_ms BIGINT;
ALTER TABLE health_state ADD COLUMN contact_ms BIGINT;
