-- +goose Up
-- What holds for everybody who chose nothing else.
CREATE TABLE house (
    name       TEXT   PRIMARY KEY,
    value      TEXT   NOT NULL,
    changed_ms BIGINT NOT NULL,
    actor      TEXT   NOT NULL
);
