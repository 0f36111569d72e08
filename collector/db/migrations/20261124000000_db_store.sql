-- +goose Up
-- One row per fact about this store itself, such as its id.
CREATE TABLE store (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);
