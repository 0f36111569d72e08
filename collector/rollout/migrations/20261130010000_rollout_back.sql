-- +goose Up
-- What a rollout leads back from, as its release was signed when it was started: the
-- same release may be signed as another way back later, or as one at all.
ALTER TABLE rollouts ADD COLUMN rollback_of TEXT NOT NULL DEFAULT '';
UPDATE rollouts SET rollback_of = (SELECT r.rollback_of FROM rollout_releases r WHERE r.id = rollouts.release_id);

-- The channel that a device came with last, '' = the usual one.
ALTER TABLE rollout_devices ADD COLUMN channel TEXT NOT NULL DEFAULT '';

-- Of a device that was revoked nothing is waited for, nor of a place that was parted from one.
UPDATE rollout_members SET unfit = 'gone' WHERE unfit = '' AND outcome = 0 AND device_id LIKE 'retired-%';
