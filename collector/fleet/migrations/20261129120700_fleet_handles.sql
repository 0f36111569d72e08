-- +goose Up
-- A device by what people call it, without reading through all.
CREATE INDEX devices_by_inventory ON devices (inventory_key);
CREATE INDEX devices_by_serial ON devices (replace(upper(serial), ' ', ''));
