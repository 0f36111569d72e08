-- +goose Up
-- What other subjects may know: of which model a device is.
CREATE VIEW fleet_models AS SELECT id AS device_id, model FROM devices;

-- Which owners there are.
CREATE VIEW fleet_owners AS SELECT id, name FROM owners;
