-- +goose Up
-- When a spool was last used and a list of programs was last told is needed by the
-- day only, and is stored so: what is finer tells when somebody worked.
UPDATE health_spools SET used_ms = used_ms - used_ms % 86400000 WHERE used_ms % 86400000 <> 0;
UPDATE health_inventory SET told_ms = told_ms - told_ms % 86400000 WHERE told_ms % 86400000 <> 0;
