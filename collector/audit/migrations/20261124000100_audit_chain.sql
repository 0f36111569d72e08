-- +goose Up
-- Append-only; each row's hash covers the row and the hash before it.
CREATE TABLE audit (
    seq     BIGINT PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    owner   TEXT   NOT NULL,
    details TEXT   NOT NULL,
    hash    BYTEA  NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, seq);
CREATE INDEX audit_owner ON audit (owner, seq);
