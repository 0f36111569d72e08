-- +goose Up
-- Several programs may have one name (two kernels), and each of them may change
-- on one day: nr tells these differences apart. The table is made anew because
-- SQLite cannot change a primary key.
CREATE TABLE health_inventory_differences (
    device_id TEXT NOT NULL,
    told_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    nr BIGINT NOT NULL,
    from_version TEXT,
    to_version TEXT,
    PRIMARY KEY (device_id, told_ms, name, nr)
);
INSERT INTO health_inventory_differences (device_id, told_ms, name, nr, from_version, to_version)
SELECT device_id, told_ms, name, 1, from_version, to_version FROM health_inventory_changes;
DROP TABLE health_inventory_changes;
