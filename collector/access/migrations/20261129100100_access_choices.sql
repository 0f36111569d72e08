-- +goose Up
-- How a person wants pages, where it shall be so on every machine.
CREATE TABLE user_choices (
    user_id TEXT NOT NULL REFERENCES users (id),
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (user_id, name)
);
