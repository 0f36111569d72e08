-- +goose Up
-- How often daily rows of a week were written, so that who keeps something that
-- is made of them knows when it is old. Weeks begin on Mondays (UTC); week 0 is
-- that of 1 January 1970.
CREATE TABLE health_weeks (
    week BIGINT PRIMARY KEY,
    changes BIGINT NOT NULL
);
INSERT INTO health_weeks (week, changes) SELECT DISTINCT (day + 3) / 7, 1 FROM health_days;
-- What other subjects may know: the daily rows.
CREATE VIEW health_daily AS SELECT * FROM health_days;
CREATE VIEW health_changed_weeks AS SELECT week, changes FROM health_weeks;
