-- +goose Up
-- What sort of browser opened a session: words of the lists in client.go, '' = none of them.
ALTER TABLE sessions ADD COLUMN browser TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN os TEXT NOT NULL DEFAULT '';
