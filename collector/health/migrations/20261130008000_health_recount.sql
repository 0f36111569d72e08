-- +goose Up
-- Daily rows used to be deleted without a word of it: what is made of any week is made
-- anew once.
UPDATE health_weeks SET changes = changes + 1;
