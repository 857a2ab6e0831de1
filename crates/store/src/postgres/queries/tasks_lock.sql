SELECT t.id, t.uuid, t.template, t.priority, t.state, t.paused, t.total, t.done, t.failed, t.isolated, t.cancelled, t.active, t.waiting,
  t.batches, t.fence_base, t.start_at, t.created_at, t.state_since, t.updated_at, t.ended_at, t.wake_at, pg_current_xact_id()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM tasks t WHERE t.id = ANY ($1) ORDER BY t.id FOR NO KEY UPDATE
