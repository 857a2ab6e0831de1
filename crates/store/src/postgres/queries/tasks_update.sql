UPDATE tasks t SET start_at = v.start_at, state_since = v.state_since, updated_at = v.updated_at, ended_at = v.ended_at,
  wake_at = v.wake_at, total = v.total, done = v.done, failed = v.failed, isolated = v.isolated, cancelled = v.cancelled,
  active = v.active, waiting = v.waiting, fence_base = v.fence_base, state = v.state, paused = v.paused, batches = v.batches
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[],
  $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::smallint[], $16::boolean[], $17::text[]) AS v (id, start_at, state_since, updated_at, ended_at, wake_at, total, done, failed, isolated, cancelled, active, waiting, fence_base,
  state, paused, batches)
WHERE t.id = v.id
