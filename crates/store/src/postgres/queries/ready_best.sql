-- What others hold is skipped, so a claim never waits. A long context is read only once it is needed.
SELECT s.id, s.template, s.state, s.remaining, s.enqueued_at, s.fence, s.attempts, s.crashes, s.started_at, s.wake_at, s.worker, s.has_checkpoint, s.suspect, s.name, s.ended_at,
  r.enqueued_at, r.rank, t.uuid, t.template, t.priority, t.created_at,
  CASE WHEN octet_length(q.context) <= 8192 THEN q.context END, q.details
FROM ready r JOIN steps s ON s.id = r.step JOIN tasks t ON t.id = r.step >> 14 JOIN requests q ON q.task = r.step >> 14
WHERE r.queue = $1 ORDER BY r.rank, r.enqueued_at, r.step LIMIT $2 FOR UPDATE OF r, s SKIP LOCKED
