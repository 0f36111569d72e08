-- +goose Up
-- How many days an owner keeps a class of values, where that is fewer than the field
-- catalogue allows; 0 = as the catalogue says, again.
CREATE TABLE health_retention (
    owner_id TEXT NOT NULL,
    class TEXT NOT NULL,
    days BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (owner_id, class)
);
