-- +goose Up
-- Who does now what only one collector may do at a time. A row stays when nobody
-- has it: until_ms is 0 then, and term goes on counting.
CREATE TABLE leases (
    name     TEXT PRIMARY KEY,
    holder   TEXT NOT NULL,
    term     BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
