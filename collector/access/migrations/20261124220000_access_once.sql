-- +goose Up
-- What was answered to a request that may come again under the same key. The
-- answer may hold a secret: it is sealed with the key, of which only a hash is here.
CREATE TABLE answers (
    caller     TEXT   NOT NULL,
    key_hash   BYTEA  NOT NULL,
    request    BYTEA  NOT NULL,            -- SHA-256 of what was asked
    created_ms BIGINT NOT NULL,
    status     BIGINT NOT NULL DEFAULT 0,  -- 0 = not answered yet
    location   TEXT   NOT NULL DEFAULT '',
    sealed     BYTEA,
    PRIMARY KEY (caller, key_hash)
);
CREATE INDEX answers_age ON answers (created_ms);
