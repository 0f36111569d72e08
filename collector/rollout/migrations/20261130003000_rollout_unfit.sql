-- +goose Up
-- Who is not waited for. unfit: why the device cannot take the release at all, '' = it
-- can, as far as is known. passed = 1 once it had a whole turn, a lease, and no outcome
-- of it: it refused, or the lease ended.
ALTER TABLE rollout_members ADD COLUMN unfit TEXT NOT NULL DEFAULT '';
ALTER TABLE rollout_members ADD COLUMN passed BIGINT NOT NULL DEFAULT 0;
UPDATE rollout_members SET passed = 1 WHERE granted_ms > 0 AND flight = 0 AND outcome = 0;
CREATE INDEX rollout_members_unfit ON rollout_members (rollout_id, ring) WHERE unfit <> '';
