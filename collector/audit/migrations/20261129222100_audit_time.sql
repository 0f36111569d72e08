-- +goose Up
-- To count what a filter by days or actions leaves without reading the entries.
CREATE INDEX audit_time ON audit (at_ms, action, owner);
