-- A worker's row is one life of one process. Its beat moves on while it lives; a running step has no deadline of its own.
-- Programs of the release before move no beat, and give what they run a deadline.
ALTER TABLE workers ADD COLUMN beat bigint NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN draining boolean NOT NULL DEFAULT false;
CREATE INDEX workers_live ON workers (id) WHERE NOT gone;
CREATE INDEX workers_gone ON workers (seen_at) WHERE gone;

ALTER TABLE steps ADD COLUMN suspect boolean NOT NULL DEFAULT false;

-- What each worker runs. Apart from `steps`: an index there would name columns that change with every step.
CREATE TABLE held (worker bigint NOT NULL, step bigint NOT NULL, PRIMARY KEY (worker, step))
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
INSERT INTO held (worker, step) SELECT s.worker, s.id FROM wakes k JOIN steps s ON s.id = k.step WHERE s.state = 2;
DELETE FROM wakes k USING steps s WHERE s.id = k.step AND s.state = 2;
UPDATE steps SET wake_at = NULL WHERE state = 2 AND id IN (SELECT step FROM held);
