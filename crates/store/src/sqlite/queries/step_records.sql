SELECT s.id, s.template, s.state, s.remaining, s.fence, s.attempts, s.crashes, s.enqueued_at, s.started_at, s.wake_at, s.worker,
  s.has_checkpoint, s.suspect, s.name, s.result, i.inputs, c.checkpoint, s.ended_at, w.name
FROM steps s LEFT JOIN inputs i ON i.step = s.id LEFT JOIN checkpoints c ON c.step = s.id LEFT JOIN workers w ON w.id = s.worker
WHERE s.id BETWEEN ?1 AND ?2 ORDER BY s.id
