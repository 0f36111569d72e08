-- +goose Up
-- What other subjects may know: which version of the agent a device came with last.
CREATE INDEX health_agents_version ON health_agents (version, device_id, day);
CREATE VIEW health_agent_versions AS SELECT a.device_id, a.version FROM health_agents a
WHERE a.day = (SELECT MAX(b.day) FROM health_agents b WHERE b.device_id = a.device_id);
