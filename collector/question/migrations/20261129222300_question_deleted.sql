-- +goose Up
-- When somebody deleted a kept question; NULL = it is kept. It can be brought back for a week.
ALTER TABLE question_saved ADD COLUMN deleted_ms BIGINT;
