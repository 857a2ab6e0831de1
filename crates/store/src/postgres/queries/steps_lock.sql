SELECT s.id, s.template, s.state, s.remaining, s.enqueued_at, s.fence, s.attempts, s.crashes, s.started_at, s.wake_at, s.worker, s.has_checkpoint, s.suspect, s.name, s.ended_at
FROM steps s WHERE s.id = ANY ($1) ORDER BY s.id FOR NO KEY UPDATE
