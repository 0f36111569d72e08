-- +goose Up
-- As many devices of a school as may be are under way in all rollouts together.
CREATE INDEX rollout_members_school ON rollout_members (school_id, device_id) WHERE flight = 1;
