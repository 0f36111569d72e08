-- +goose Up
-- The signed metadata that devices are given, each file as it was verified. Roots
-- stay for ever: a laptop that comes back after years walks through all of them.
-- replaced_ms NULL = current.
CREATE TABLE rollout_metadata (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    version BIGINT NOT NULL,
    body BYTEA NOT NULL,
    imported_ms BIGINT NOT NULL,
    replaced_ms BIGINT
);

-- What the collector's own client trusts, with its floor: the files of its store.
CREATE TABLE rollout_trust (
    name TEXT PRIMARY KEY,
    body BYTEA NOT NULL
);

-- One row: how new the repository is. told_root is the newest root that a device
-- said it has, if that is newer than ours.
CREATE TABLE rollout_repository (
    id BIGINT PRIMARY KEY,
    root BIGINT NOT NULL,
    timestamp BIGINT NOT NULL,
    snapshot BIGINT NOT NULL,
    targets BIGINT NOT NULL,
    imported_ms BIGINT NOT NULL,
    told_root BIGINT NOT NULL
);

-- When each role ends, and the alarm that was given for it, in days; 0 = none.
CREATE TABLE rollout_roles (
    role TEXT PRIMARY KEY,
    expires_ms BIGINT NOT NULL,
    alarm BIGINT NOT NULL
);
CREATE TABLE rollout_floors (
    product TEXT PRIMARY KEY,
    version TEXT NOT NULL
);

-- What may be installed. gone_ms: it is signed no longer; blocked_ms: somebody said
-- that it is not to be offered.
CREATE TABLE rollout_releases (
    id TEXT PRIMARY KEY,
    product TEXT NOT NULL,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    urgent BIGINT NOT NULL,
    rollback_of TEXT NOT NULL,
    floor TEXT NOT NULL,
    min_from TEXT NOT NULL,
    imported_ms BIGINT NOT NULL,
    gone_ms BIGINT,
    blocked_ms BIGINT,
    UNIQUE (product, channel, version, urgent)
);
CREATE TABLE rollout_targets (
    path TEXT PRIMARY KEY,
    release_id TEXT,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    os TEXT NOT NULL,
    arch TEXT NOT NULL,
    from_sha256 TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    length BIGINT NOT NULL,
    custom TEXT NOT NULL,
    gone_ms BIGINT
);
CREATE INDEX rollout_targets_release ON rollout_targets (release_id, kind);
CREATE INDEX rollout_targets_sha256 ON rollout_targets (sha256);
