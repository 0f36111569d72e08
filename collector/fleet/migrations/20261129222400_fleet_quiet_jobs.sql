-- +goose Up
-- Of a job that makes a finding quiet: the finding's code, and the act as health knows it.
ALTER TABLE jobs ADD COLUMN finding TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN quiet TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_quiet ON jobs (quiet) WHERE quiet <> '';
