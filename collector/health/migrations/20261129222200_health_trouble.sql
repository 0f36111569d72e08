-- +goose Up
-- The list of schools is sorted by how many devices are in trouble, or come over TCP
-- only: a tenth of the devices, found without reading the others. Both change seldom.
CREATE INDEX health_state_worst ON health_state (worst, device_id) WHERE worst >= 2;
CREATE INDEX health_state_tcp ON health_state (path, device_id) WHERE path IN ('tcp', 'tcp_proxy');
