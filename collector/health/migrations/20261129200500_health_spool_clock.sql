-- +goose Up
-- The collector's time of the last report of a spool, 0 = unknown, and how far ahead
-- of the device's clock it was as last told, NULL = never.
ALTER TABLE health_spools ADD COLUMN at_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE health_spools ADD COLUMN offset_ms BIGINT;
