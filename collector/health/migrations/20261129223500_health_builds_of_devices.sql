-- +goose Up
-- With whose it is: the devices of each build are read without their rows.
DROP INDEX health_state_os_build;
CREATE INDEX health_state_os_build ON health_state (os_build, device_id);
