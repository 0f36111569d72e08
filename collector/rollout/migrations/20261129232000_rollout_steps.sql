-- +goose Up
-- Which step of an update a device told last, as a hash; '' = one that may come again.
ALTER TABLE rollout_devices ADD COLUMN step TEXT NOT NULL DEFAULT '';
