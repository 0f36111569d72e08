-- +goose Up
-- Which row of a device is its latest is kept, since a question asks it of the
-- whole fleet; and builds are counted by an index of their own.
DROP VIEW health_agent_versions;
DROP INDEX health_agents_version;
ALTER TABLE health_agents ADD COLUMN latest BIGINT NOT NULL DEFAULT 0;
UPDATE health_agents SET latest = 1 WHERE day = (SELECT MAX(b.day) FROM health_agents b WHERE b.device_id = health_agents.device_id);
CREATE INDEX health_agents_latest ON health_agents (version, device_id) WHERE latest = 1;
CREATE VIEW health_agent_versions AS SELECT device_id, version FROM health_agents WHERE latest = 1;
CREATE INDEX health_state_os_build ON health_state (os_build);
