-- +goose Up
-- Which devices came to a rollout: those of another channel than the usual one are told
-- from all others by it.
CREATE INDEX rollout_members_came ON rollout_members (rollout_id, device_id) WHERE first_ms IS NOT NULL;
