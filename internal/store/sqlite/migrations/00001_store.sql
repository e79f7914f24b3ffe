-- Times are microseconds since 1970, 0 = never. rank is plane.Status.Order():
-- no statement or index spells a status. ended_at = 0 marks a backend that
-- has not terminated; partial indexes stand on it.

-- +goose Up
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE store_epoch (
    only_one INTEGER NOT NULL PRIMARY KEY CHECK (only_one = 1),
    store_id TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    counter  INTEGER NOT NULL -- of generations given in this epoch
);

CREATE TABLE claim (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

CREATE TABLE crash (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    output     TEXT    NOT NULL,
    exit       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE INDEX crash_changed ON crash (changed_at);

CREATE TABLE backend (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    cluster    TEXT    NOT NULL,
    drone      TEXT    NOT NULL,
    app        TEXT    NOT NULL,
    release    INTEGER NOT NULL,
    spec       TEXT    NOT NULL,
    policy     TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    static     INTEGER NOT NULL,
    subdomain  TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    decision   TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    ready_at   INTEGER NOT NULL,
    rank       INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    state_at   INTEGER NOT NULL,
    revocation INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL
);
CREATE INDEX backend_of_key ON backend (namespace, name, generation);
CREATE INDEX backend_live_on ON backend (drone) WHERE ended_at = 0;
CREATE INDEX backend_live ON backend (id) WHERE ended_at = 0;
CREATE INDEX backend_ended ON backend (ended_at) WHERE ended_at > 0;

CREATE TABLE step (
    backend INTEGER NOT NULL, -- backend.seq
    rank    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    state   TEXT    NOT NULL,
    PRIMARY KEY (backend, rank)
) WITHOUT ROWID;

CREATE TABLE revoked (
    backend INTEGER NOT NULL, -- backend.seq
    user    TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (backend, user)
) WITHOUT ROWID;

-- Ids of deleted backends, as the first 8 bytes of their SHA-256: about 10
-- bytes each, so that an id stays used for good. A false hit among a billion
-- of them has a chance of 1 in 10^10 and only makes the caller take another id.
CREATE TABLE spent_id (
    hash INTEGER PRIMARY KEY
);

-- How many backends live on a drone: counting the rows would cost a scheduler
-- a walk over thousands of them for each start.
CREATE TABLE load (
    drone TEXT    NOT NULL PRIMARY KEY,
    live  INTEGER NOT NULL
) WITHOUT ROWID;
-- +goose StatementBegin
CREATE TRIGGER load_up AFTER INSERT ON backend WHEN NEW.ended_at = 0 BEGIN
    INSERT INTO load (drone, live) VALUES (NEW.drone, 1) ON CONFLICT (drone) DO UPDATE SET live = live + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER load_down AFTER UPDATE OF ended_at ON backend WHEN OLD.ended_at = 0 AND NEW.ended_at <> 0 BEGIN
    UPDATE load SET live = live - 1 WHERE drone = NEW.drone;
END;
-- +goose StatementEnd

CREATE TABLE drone (
    name           TEXT    NOT NULL PRIMARY KEY,
    cluster        TEXT    NOT NULL,
    pool           TEXT    NOT NULL,
    version        TEXT    NOT NULL,
    hash           TEXT    NOT NULL,
    address        TEXT    NOT NULL,
    runtimes       TEXT    NOT NULL,
    commands       INTEGER NOT NULL,
    boot_id        TEXT    NOT NULL,
    warden         TEXT    NOT NULL,
    agent          TEXT    NOT NULL,
    controller     TEXT    NOT NULL,
    connection     INTEGER NOT NULL,
    draining       INTEGER NOT NULL,
    first_seen     INTEGER NOT NULL,
    epoch_fast     INTEGER NOT NULL,
    epoch_balanced INTEGER NOT NULL,
    epoch_sticky   INTEGER NOT NULL,
    renewed_at     INTEGER NOT NULL,
    renewal        INTEGER NOT NULL,
    store_id       TEXT    NOT NULL,
    store_number   INTEGER NOT NULL
);

CREATE TABLE proxy (
    name       TEXT    NOT NULL PRIMARY KEY,
    cluster    TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    hash       TEXT    NOT NULL,
    instance   TEXT    NOT NULL,
    controller TEXT    NOT NULL,
    connection INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
);

CREATE TABLE controller (
    name    TEXT    NOT NULL PRIMARY KEY,
    online  INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
);

CREATE TABLE action (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    drone      TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX action_for ON action (drone, seq);
CREATE INDEX action_of ON action (backend, seq);

CREATE TABLE event (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    text       TEXT    NOT NULL
);
CREATE INDEX event_at ON event (at);
CREATE INDEX event_of_key ON event (namespace, name, seq);

CREATE TABLE api_key (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE,
    grants     TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE token_key (
    cluster    TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    secret     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    PRIMARY KEY (cluster, number)
) WITHOUT ROWID;
