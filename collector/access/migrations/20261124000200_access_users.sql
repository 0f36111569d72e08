-- +goose Up
CREATE TABLE users (
    id          TEXT   PRIMARY KEY,
    login       TEXT   NOT NULL UNIQUE,     -- folded: lower case, NFKC
    password    TEXT   NOT NULL,            -- argon2id, PHC string
    role        TEXT   NOT NULL,
    all_owners  BIGINT NOT NULL,            -- 1 = everybody's data, else rows in scopes
    created_ms  BIGINT NOT NULL,
    disabled_ms BIGINT NOT NULL DEFAULT 0   -- 0 = may sign in
);
CREATE TABLE tokens (
    id         TEXT   PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    hash       BYTEA  NOT NULL UNIQUE,      -- SHA-256 of the secret
    role       TEXT   NOT NULL,
    all_owners BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,             -- 0 = never
    revoked_ms BIGINT NOT NULL DEFAULT 0,
    used_ms    BIGINT NOT NULL DEFAULT 0    -- exact to a day
);
-- Whose data a user or a token may see.
CREATE TABLE scopes (
    subject TEXT NOT NULL,                  -- id of the user or token
    owner   TEXT NOT NULL,
    PRIMARY KEY (subject, owner)
);
CREATE TABLE sessions (
    id         TEXT   PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id),
    hash       BYTEA  NOT NULL UNIQUE,      -- SHA-256 of the secret
    old_hash   BYTEA,                       -- of the secret before, see Rotate
    rotated_ms BIGINT NOT NULL,
    seen_ms    BIGINT NOT NULL,             -- exact to five minutes
    expires_ms BIGINT NOT NULL
);
CREATE INDEX sessions_old_hash ON sessions (old_hash);
CREATE INDEX sessions_user ON sessions (user_id);
