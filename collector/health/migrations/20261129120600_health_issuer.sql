-- +goose Up
-- Who issued the certificate of the box that opens TLS, as a device last told;
-- '' = none did.
ALTER TABLE health_state ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
CREATE VIEW health_ways AS SELECT device_id, path, trouble, issuer FROM health_state;
