-- Durable domain events, in the shape of a PGMQ queue: a reader makes a message invisible until `vt`, acknowledging
-- archives it. Messages of one task are read in order.
CREATE TABLE events (
  msg_id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT NOT NULL,
  task INTEGER NOT NULL,
  name TEXT NOT NULL,
  read_ct INTEGER NOT NULL DEFAULT 0,
  enqueued_at INTEGER NOT NULL,
  vt INTEGER NOT NULL,
  archived_at INTEGER,
  message TEXT NOT NULL
);
CREATE INDEX events_live ON events (queue, msg_id) WHERE archived_at IS NULL;
CREATE INDEX events_task ON events (task, msg_id);

-- What failed, for grouping and for people; what settled it.
ALTER TABLE dead_letters ADD COLUMN step INTEGER;
ALTER TABLE dead_letters ADD COLUMN error_type TEXT;
ALTER TABLE dead_letters ADD COLUMN message TEXT;
ALTER TABLE dead_letters ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN note TEXT;
ALTER TABLE dead_letters ADD COLUMN resolution TEXT;
CREATE INDEX dead_letters_open ON dead_letters (id) WHERE resolved_at IS NULL;
