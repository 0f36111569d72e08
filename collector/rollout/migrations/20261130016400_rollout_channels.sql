-- +goose Up
-- Which devices are of another channel than the usual one: all that a rollout counts
-- leaves these out, or counts none but these.
CREATE INDEX rollout_devices_channel ON rollout_devices (channel, device_id) WHERE channel <> '';
