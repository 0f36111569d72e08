-- +goose Up
-- Which version of the agent a device came with, one row per change and day.
CREATE TABLE health_agents (
    device_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (device_id, day)
);
