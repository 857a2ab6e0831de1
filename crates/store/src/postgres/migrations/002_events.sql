-- Durable domain events travel by PGMQ queues, which number them by one sequence.
CREATE SEQUENCE event_ids;

-- Queues by Tasker's name and by PGMQ's. Kinds: 0 steps, 1 events.
CREATE TABLE queues (name text PRIMARY KEY, pgmq text NOT NULL UNIQUE, kind smallint NOT NULL);

-- What failed, for grouping and for people; what settled it.
ALTER TABLE dead_letters ADD COLUMN step integer;
ALTER TABLE dead_letters ADD COLUMN error_type text;
ALTER TABLE dead_letters ADD COLUMN message text;
ALTER TABLE dead_letters ADD COLUMN fingerprint text NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN note text;
ALTER TABLE dead_letters ADD COLUMN resolution text;
CREATE INDEX dead_letters_open ON dead_letters (id) WHERE resolved_at IS NULL;
