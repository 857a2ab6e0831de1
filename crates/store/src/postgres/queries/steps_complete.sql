UPDATE steps s SET enqueued_at = v.enqueued_at, started_at = v.started_at, wake_at = v.wake_at, worker = v.worker,
  ended_at = v.ended_at, remaining = v.remaining, fence = v.fence, attempts = v.attempts, crashes = v.crashes,
  template = v.template, state = v.state, has_checkpoint = v.has_checkpoint, suspect = v.suspect,
  result = CASE WHEN v.touched THEN v.result ELSE s.result END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[],
  $9::integer[], $10::integer[], $11::smallint[], $12::smallint[], $13::boolean[],
  $14::text[], $15::boolean[], $16::boolean[]) AS v (id, enqueued_at, started_at, wake_at, worker, ended_at, remaining, fence, attempts, crashes, template, state, has_checkpoint, result, touched, suspect)
WHERE s.id = v.id
