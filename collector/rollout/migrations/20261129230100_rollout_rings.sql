-- +goose Up
-- A release on its way over the fleet. rings is JSON, their sizes as the fleet was at
-- the start; evidence is all that gate weighed, counts what became of the devices of
-- each ring, kept since counting 70,000 takes a tenth of a second. revision rises with whatever changes
-- what devices may begin, so that each collector tells its own sessions.
CREATE TABLE rollouts (
    id TEXT PRIMARY KEY,
    release_id TEXT NOT NULL,
    state TEXT NOT NULL,
    ring BIGINT NOT NULL,
    rings TEXT NOT NULL,
    entered_ms BIGINT NOT NULL,
    evidence TEXT NOT NULL,
    counts TEXT NOT NULL,
    control_bad BIGINT NOT NULL,
    controls BIGINT NOT NULL,
    placed BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    started_by TEXT NOT NULL,
    started_name TEXT NOT NULL,
    approved_by TEXT NOT NULL,
    approved_name TEXT NOT NULL,
    ended_ms BIGINT,
    cause TEXT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE INDEX rollouts_open ON rollouts (state) WHERE ended_ms IS NULL;

-- A device's place in a rollout and what became of it. lease '' = none; flight = 1
-- while it counts as under way; outcome 0 none, 1 ok, 2 bad. told is the last
-- UpdateState and reason its UpdateReason. strata are as they were at the start.
CREATE TABLE rollout_members (
    rollout_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    ring BIGINT NOT NULL,
    model TEXT NOT NULL,
    os_build TEXT NOT NULL,
    antivirus TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    school_id TEXT NOT NULL,
    first_ms BIGINT,
    lease TEXT NOT NULL DEFAULT '',
    granted_ms BIGINT NOT NULL DEFAULT 0,
    until_ms BIGINT NOT NULL DEFAULT 0,
    flight BIGINT NOT NULL DEFAULT 0,
    told BIGINT NOT NULL DEFAULT 0,
    reason BIGINT NOT NULL DEFAULT 0,
    told_ms BIGINT NOT NULL DEFAULT 0,
    outcome BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (rollout_id, device_id)
);
CREATE INDEX rollout_members_device ON rollout_members (device_id, rollout_id);
CREATE INDEX rollout_members_flight ON rollout_members (rollout_id, school_id, until_ms) WHERE flight = 1;
CREATE INDEX rollout_members_open ON rollout_members (rollout_id, ring, device_id) WHERE flight = 0 AND outcome = 0;
CREATE INDEX rollout_members_armed ON rollout_members (rollout_id, told_ms) WHERE told BETWEEN 4 AND 7;

-- What was decided, by whom or by what, and what was known then.
CREATE TABLE rollout_decisions (
    id TEXT PRIMARY KEY,
    rollout_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    verb TEXT NOT NULL,
    ring BIGINT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL
);
CREATE INDEX rollout_decisions_rollout ON rollout_decisions (rollout_id, at_ms);

-- What one person asked for and a second must say too.
CREATE TABLE rollout_requests (
    rollout_id TEXT NOT NULL,
    verb TEXT NOT NULL,
    ring BIGINT NOT NULL,
    actor TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (rollout_id, verb, ring)
);

-- What a device said last of its updates, in a rollout or not. repaired_ms: its
-- launcher had to mend the program that it had anyway.
CREATE TABLE rollout_devices (
    device_id TEXT PRIMARY KEY,
    told BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    to_version TEXT NOT NULL,
    launcher TEXT NOT NULL,
    told_ms BIGINT NOT NULL,
    repaired_ms BIGINT NOT NULL,
    strange_ms BIGINT NOT NULL
);
CREATE INDEX rollout_devices_repaired ON rollout_devices (repaired_ms) WHERE repaired_ms > 0;

-- When an owner's schools teach and what their lines bear.
CREATE TABLE rollout_owners (
    owner_id TEXT PRIMARY KEY,
    lessons_from BIGINT NOT NULL,
    lessons_to BIGINT NOT NULL,
    rate BIGINT NOT NULL,
    parallel BIGINT NOT NULL
);
-- Days without updates (kind 'closed': exam weeks) and days without lessons (kind
-- 'free': movable days off). school_id '' = all of the owner's.
CREATE TABLE rollout_days (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL,
    school_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    from_day TEXT NOT NULL,
    to_day TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE INDEX rollout_days_owner ON rollout_days (owner_id, to_day);
