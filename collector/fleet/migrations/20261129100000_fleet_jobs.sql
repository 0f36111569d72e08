-- +goose Up
-- How the labels of an owner are spelt. One that no device holds stays here and
-- is shown nowhere; whoever sets it next decides its spelling anew.
CREATE TABLE labels (
    owner_id  TEXT NOT NULL REFERENCES owners (id),
    label_key TEXT NOT NULL, -- folded
    label     TEXT NOT NULL,
    PRIMARY KEY (owner_id, label_key)
);
-- A row stays when its label is taken away: changed_by names the change that did
-- it last, without which nobody could tell whether a job may still be undone.
CREATE TABLE device_labels (
    device_id  TEXT   NOT NULL REFERENCES devices (id),
    owner_id   TEXT   NOT NULL,
    label_key  TEXT   NOT NULL,
    held       BIGINT NOT NULL,
    changed_by TEXT   NOT NULL,
    PRIMARY KEY (device_id, label_key)
);
CREATE INDEX device_labels_held ON device_labels (label_key, owner_id, device_id) WHERE held = 1;
ALTER TABLE devices ADD COLUMN school_by TEXT NOT NULL DEFAULT ''; -- as changed_by

-- One change of many devices. done and undone are how far it has come in the
-- numbers of job_devices.
CREATE TABLE jobs (
    id         TEXT   PRIMARY KEY,
    act        TEXT   NOT NULL,
    label      TEXT   NOT NULL, -- '' = not about one
    label_key  TEXT   NOT NULL,
    school_id  TEXT   NOT NULL, -- '' = none
    filter     TEXT   NOT NULL, -- JSON; '' = the devices were named one by one
    scope      TEXT   NOT NULL, -- JSON: owners that whoever made it saw then; null = all
    actor      TEXT   NOT NULL,
    actor_name TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_ms   BIGINT,
    total      BIGINT NOT NULL,
    done       BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    same       BIGINT NOT NULL,
    skipped    BIGINT NOT NULL,
    undone     BIGINT NOT NULL,
    undone_by  TEXT   NOT NULL,
    restored   BIGINT NOT NULL,
    kept       BIGINT NOT NULL
);
CREATE INDEX jobs_open ON jobs (created_ms) WHERE ended_ms IS NULL;
CREATE TABLE job_owners (
    job_id   TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    PRIMARY KEY (job_id, owner_id)
);
-- outcome: 0 not reached, 1 changed, 2 was so already, 3 of another owner than
-- the school. undo: 0 not reached, 1 as before, 2 changed since by somebody else.
CREATE TABLE job_devices (
    job_id    TEXT   NOT NULL,
    seq       BIGINT NOT NULL,
    device_id TEXT   NOT NULL,
    outcome   BIGINT NOT NULL,
    before    TEXT   NOT NULL, -- id of the school that it had
    undo      BIGINT NOT NULL,
    PRIMARY KEY (job_id, seq)
);
CREATE INDEX job_devices_device ON job_devices (device_id, job_id);
