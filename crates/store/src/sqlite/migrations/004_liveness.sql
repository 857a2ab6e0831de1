-- A worker's row is one life of one process. Its beat moves on while it lives; a running step has no deadline of its own.
ALTER TABLE workers ADD COLUMN beat INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
CREATE INDEX workers_live ON workers (id) WHERE NOT gone;
CREATE INDEX workers_gone ON workers (seen_at) WHERE gone;

ALTER TABLE steps ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
UPDATE steps SET wake_at = NULL WHERE state = 2;
CREATE INDEX steps_held ON steps (worker) WHERE state = 2;
