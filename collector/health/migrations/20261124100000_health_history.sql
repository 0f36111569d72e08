-- +goose Up
-- Minutes, packed by the device (proto/block): one row per block, until the
-- daily job merges a day's blocks of a device into one row of each step, which
-- then has spool and seq 0. Times are the collector's where the device's clock
-- cannot be right. seq is part of the key because two blocks may claim the same
-- minutes: a device whose clock was set back tells both.
CREATE TABLE health_blocks (
    device_id TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    step_s BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    spool BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (device_id, start_ms, step_s, spool, seq)
);
-- For the daily job: what is not merged yet. A negative spool marks what cannot be.
CREATE INDEX health_blocks_fresh ON health_blocks (start_ms) WHERE spool > 0;
-- For the end of their time.
CREATE INDEX health_blocks_time ON health_blocks (start_ms);

-- One typed row per device and day, for questions about the fleet. The columns
-- are the readings of proto/reading that say Daily, by their names; a test holds
-- that. Days are UTC, as numbers since 1970.
CREATE TABLE health_days (
    device_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    cpu_used BIGINT, cpu_cores BIGINT, load_1 BIGINT,
    memory_total BIGINT, memory_used BIGINT, swap_total BIGINT, swap_used BIGINT,
    volume_total BIGINT, volume_free BIGINT,
    battery_charge BIGINT, battery_health BIGINT, battery_cycles BIGINT,
    temperature BIGINT, link_speed BIGINT,
    os_name TEXT, os_build TEXT,
    agent_memory BIGINT, agent_cpu BIGINT,
    cpu_speed_limit BIGINT, cpu_throttled BIGINT, pressure BIGINT,
    volume_inodes_free BIGINT, volume_errors BIGINT,
    disk_health TEXT, disk_wear BIGINT, disk_spare BIGINT, disk_errors BIGINT, disk_power_on BIGINT,
    battery_full BIGINT, battery_design BIGINT,
    fan_speed BIGINT, link_errors BIGINT, link_signal BIGINT,
    boot_duration BIGINT, os_patch TEXT, os_support_end BIGINT,
    updates_pending BIGINT, updates_security BIGINT, updates_last BIGINT, restart_pending TEXT,
    disk_encryption TEXT, firewall TEXT, antivirus TEXT, antivirus_age BIGINT, secure_boot TEXT, tpm TEXT,
    clock_offset BIGINT, system_crashes BIGINT, program_crashes BIGINT, hard_power_offs BIGINT,
    software_count BIGINT, collector_path TEXT, network_trouble TEXT, inspection_issuer TEXT, spool_waiting BIGINT,
    PRIMARY KEY (device_id, day)
);
CREATE INDEX health_days_day ON health_days (day, device_id);

-- Findings as the device raised and cleared them. cleared_ms NULL = open; at
-- most one row of a code and instance is open.
CREATE TABLE health_findings (
    device_id TEXT NOT NULL,
    spool BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    code TEXT NOT NULL,
    instance TEXT NOT NULL,
    severity BIGINT NOT NULL,
    arguments TEXT NOT NULL,
    raised_ms BIGINT NOT NULL,
    cleared_ms BIGINT,
    PRIMARY KEY (device_id, spool, seq)
);
CREATE INDEX health_findings_device ON health_findings (device_id, code, instance) WHERE cleared_ms IS NULL;
CREATE INDEX health_findings_open ON health_findings (code, device_id) WHERE cleared_ms IS NULL;

-- The installed software as last told, packed (proto/inventory), and what changed.
CREATE TABLE health_inventory (
    device_id TEXT PRIMARY KEY,
    hash BYTEA NOT NULL,
    programs BIGINT NOT NULL,
    told_ms BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE TABLE health_inventory_changes (
    device_id TEXT NOT NULL,
    told_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    from_version TEXT,
    to_version TEXT,
    PRIMARY KEY (device_id, told_ms, name)
);

-- Who looked at what is finer than a day, why, and until when.
CREATE TABLE health_looks (
    id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    role TEXT NOT NULL,
    reason TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
CREATE INDEX health_looks_device ON health_looks (device_id, opened_ms);

-- What each device of an owner must have; names are JSON, alternatives.
CREATE TABLE health_standard (
    owner_id TEXT NOT NULL,
    label TEXT NOT NULL,
    names TEXT NOT NULL,
    least_version TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    PRIMARY KEY (owner_id, label)
);
