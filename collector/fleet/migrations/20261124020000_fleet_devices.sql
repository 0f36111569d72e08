-- +goose Up
-- A Schulträger. Its name is compared folded, so that a second spelling of the
-- same name in a later CSV file does not make a second owner.
CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);

-- The code is the authority's number of the school, within its owner.
CREATE TABLE schools (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES owners (id),
    code TEXT NOT NULL,
    code_key TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    planned BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (owner_id, code_key)
);

-- hardware is ident.Hardware.Key: the record is found again by it whoever owns
-- it. label is what a page calls the device, label_key sorts it as people do;
-- search is all that is searched in, folded.
CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES owners (id),
    school_id TEXT REFERENCES schools (id),
    hardware TEXT NOT NULL UNIQUE,
    manufacturer TEXT NOT NULL,
    model TEXT NOT NULL,
    serial TEXT NOT NULL,
    os TEXT NOT NULL,
    inventory TEXT,
    inventory_key TEXT,
    label_key TEXT NOT NULL,
    search TEXT NOT NULL,
    admitted_ms BIGINT NOT NULL,
    reimaged_ms BIGINT,
    reimages BIGINT NOT NULL,
    UNIQUE (owner_id, inventory_key)
);
-- With the search text, so that a search walks an index in the list's order and
-- reads no rows but those that it shows.
CREATE INDEX devices_by_label ON devices (label_key, id, search);
CREATE INDEX devices_by_owner ON devices (owner_id, label_key, id, search);
CREATE INDEX devices_by_school ON devices (school_id, label_key, id);

-- What other subjects may know: whose a device is.
CREATE VIEW fleet_devices AS SELECT id AS device_id, owner_id, school_id FROM devices;
