-- +goose Up
-- As many devices of a school as may be are under way in all rollouts together.
CREATE INDEX rollout_members_school ON rollout_members (school_id, device_id) WHERE flight = 1;

-- Who had a whole turn and told of no end of it is counted by ring.
CREATE INDEX rollout_members_passed ON rollout_members (rollout_id, ring) WHERE passed = 1 AND flight = 0 AND outcome = 0;
