-- +goose Up
-- The daily rows of a week as one packed column of each reading (column.go): the
-- last value that each device told in it, by the device's number. Made of
-- health_daily, and made again when that changed.
CREATE TABLE question_columns (
    week BIGINT NOT NULL,
    reading TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (reading, week)
);
-- changes is health_changed_weeks.changes as it was before the columns were made.
CREATE TABLE question_weeks (
    week BIGINT PRIMARY KEY,
    changes BIGINT NOT NULL,
    built_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL
);

-- Questions that somebody keeps. asked is JSON.
CREATE TABLE question_saved (
    id TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    name TEXT NOT NULL,
    asked TEXT NOT NULL,
    shared BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX question_saved_actor ON question_saved (actor);
CREATE INDEX question_saved_shared ON question_saved (shared);
-- The last answer of each, by whose devices were looked at: two scopes get two numbers.
CREATE TABLE question_answers (
    question TEXT NOT NULL REFERENCES question_saved (id),
    scope TEXT NOT NULL,
    matching BIGINT NOT NULL,
    known BIGINT NOT NULL,
    answered_ms BIGINT NOT NULL,
    PRIMARY KEY (question, scope)
);
