-- +goose Up
-- The highest of all at the time when a device was last written: what is new since
-- then is read without looking at the rest.
ALTER TABLE devices ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
UPDATE devices SET revision = number;
CREATE INDEX devices_revision ON devices (revision);
