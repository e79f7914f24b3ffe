-- +goose Up
ALTER TABLE backend ADD COLUMN volume TEXT NOT NULL DEFAULT '';

CREATE TABLE app (
    name       TEXT    NOT NULL PRIMARY KEY,
    release    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE release (
    app        TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    template   TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app, number)
) WITHOUT ROWID;

-- The highest number that an app's releases ever had: numbers aren't used again
-- when old releases are deleted.
CREATE TABLE release_number (
    app    TEXT    NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) WITHOUT ROWID;

-- Rows here stay as long as the data does: until it is abandoned.
CREATE TABLE volume (
    id          TEXT    NOT NULL PRIMARY KEY,
    namespace   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    app         TEXT    NOT NULL,
    drone       TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    made        INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    attached_at INTEGER NOT NULL,
    UNIQUE (namespace, name)
) WITHOUT ROWID;

CREATE INDEX backend_of_app ON backend (app, release);
CREATE INDEX backend_live_of ON backend (app, release) WHERE ended_at = 0;
