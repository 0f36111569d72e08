-- +goose Up
-- Since when updated devices are silent while others are here, 0 = they are not: it must
-- last, also over restarts of the collector. Who told of its update until excused_ms is
-- not looked for any more: a person ended the halt for it.
ALTER TABLE rollouts ADD COLUMN silent_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN excused_ms BIGINT NOT NULL DEFAULT 0;
