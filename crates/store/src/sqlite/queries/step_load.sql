SELECT id, template, state, remaining, fence, attempts, crashes, enqueued_at, started_at, wake_at, worker, has_checkpoint, suspect, name FROM steps WHERE id = ?1
