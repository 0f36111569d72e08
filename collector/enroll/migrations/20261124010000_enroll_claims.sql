-- +goose Up
-- What admits devices. Of the secret only the hash is here.
CREATE TABLE claims (
    id          TEXT   PRIMARY KEY,
    owner       TEXT   NOT NULL,
    school      TEXT   NOT NULL, -- '' = none
    secret_hash BYTEA  NOT NULL UNIQUE,
    cap         BIGINT NOT NULL,
    used        BIGINT NOT NULL,
    per_serial  BIGINT NOT NULL, -- 1 = only the serials in claim_serials, each once
    note        TEXT   NOT NULL,
    created_ms  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    expires_ms  BIGINT NOT NULL,
    revoked_ms  BIGINT
);
CREATE INDEX claims_by_owner ON claims (owner, id);

CREATE TABLE claim_serials (
    claim  TEXT NOT NULL,
    serial TEXT NOT NULL, -- as ident.SerialKey spells it
    device TEXT NOT NULL, -- '' until it came
    PRIMARY KEY (claim, serial)
);

-- One row per key that ever got a certificate. Rows of keys that were used stay
-- for good: they are what tells a revoked key from a foreign one.
CREATE TABLE credentials (
    spki        BYTEA  PRIMARY KEY, -- SHA-256 of the public key
    device      TEXT   NOT NULL,
    claim       TEXT   NOT NULL, -- that admitted it; '' = renewed or adopted
    replaces    BYTEA  NOT NULL, -- the key that authorised its renewal; empty = none
    issued_ms   BIGINT NOT NULL,
    expires_ms  BIGINT NOT NULL,
    epoch       BIGINT NOT NULL, -- connection epoch, wire.md 10
    epoch_store BYTEA  NOT NULL, -- the store that saw it; empty = never connected
    revoked_ms  BIGINT,
    reason      TEXT   NOT NULL
);
CREATE INDEX credentials_by_device ON credentials (device);

-- One row per device that was ever admitted; revoked while no key of it is good.
CREATE TABLE enrolled (
    device     TEXT PRIMARY KEY,
    revoked_ms BIGINT
);
CREATE INDEX enrolled_revoked ON enrolled (device) WHERE revoked_ms IS NOT NULL; -- each list asks for them
CREATE VIEW enroll_devices AS SELECT device, revoked_ms FROM enrolled;

-- The ids that this store had: the second and later ones are from restores.
CREATE TABLE enroll_stores (
    store    BYTEA  PRIMARY KEY,
    since_ms BIGINT NOT NULL
);
