-- +goose Up
-- An act of somebody who knows of a finding, at one device or at many: it counts no
-- longer until the finding is cleared (until_ms NULL), until a time, or until it is
-- worse than it was then. over = 1 when none is quiet by it any more.
CREATE TABLE health_quiets (
    id TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    role TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    until_ms BIGINT,
    over BIGINT NOT NULL
);
CREATE INDEX health_quiets_until ON health_quiets (until_ms) WHERE over = 0;

-- Which findings it was about, and when somebody undid it or its time was up.
CREATE TABLE health_quieted (
    quiet_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    spool BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    PRIMARY KEY (quiet_id, device_id, spool, seq)
);
CREATE INDEX health_quieted_device ON health_quieted (device_id, at_ms);

-- The act that a finding is quiet by, and its severity then: worse than that is loud
-- again. 0 = loud.
ALTER TABLE health_findings ADD COLUMN quiet_id TEXT;
ALTER TABLE health_findings ADD COLUMN quiet_severity BIGINT NOT NULL DEFAULT 0;
CREATE INDEX health_findings_quiet ON health_findings (quiet_id, device_id) WHERE quiet_id IS NOT NULL;

CREATE VIEW health_noted_findings AS
SELECT device_id, code, severity, CASE WHEN severity > quiet_severity THEN 1 ELSE 0 END AS loud
FROM health_findings WHERE cleared_ms IS NULL;
