-- +goose Up
-- What a device was granted last, as linux/amd64, and how many of each told of success:
-- the first of a system go before the rest of it.
ALTER TABLE rollout_members ADD COLUMN system TEXT NOT NULL DEFAULT '';
ALTER TABLE rollouts ADD COLUMN systems TEXT NOT NULL DEFAULT '{}';
