-- +goose Up
-- What devices take at its signed pace, without a rollout: which version a device came
-- with last, and which one it left again by itself ('' = none). product is launcher
-- or policy.
CREATE TABLE rollout_trains (
    device_id TEXT NOT NULL,
    product TEXT NOT NULL,
    version TEXT NOT NULL,
    left_version TEXT NOT NULL,
    PRIMARY KEY (device_id, product)
);
