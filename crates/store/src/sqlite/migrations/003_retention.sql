-- Ended tasks, their keys and what was read of their events are found again when they are old enough to be removed.
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX idempotency_task ON idempotency (task);
CREATE INDEX events_archived ON events (archived_at) WHERE archived_at IS NOT NULL;
