-- +goose Up
-- Filters of the list under a name. holder is who or what has it: the actor of
-- its maker, "owner:ID" for all who see that owner, "all". A deleted one can be
-- brought back for some days.
CREATE TABLE list_views (
    id         TEXT   PRIMARY KEY,
    holder     TEXT   NOT NULL,
    owner_id   TEXT   NOT NULL, -- of holder; '' = none
    slug       TEXT   NOT NULL, -- of the name, for addresses
    name       TEXT   NOT NULL,
    filter     TEXT   NOT NULL, -- JSON
    columns    TEXT   NOT NULL, -- as in addresses; '' = those of whoever looks
    created_ms BIGINT NOT NULL,
    deleted_ms BIGINT
);
CREATE UNIQUE INDEX list_views_slug ON list_views (holder, slug) WHERE deleted_ms IS NULL;
