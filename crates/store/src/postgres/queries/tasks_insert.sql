INSERT INTO tasks (id, start_at, state_since, updated_at, ended_at, wake_at, total, done, failed, isolated, cancelled, active, waiting, fence_base,
  state, paused, batches, uuid, template, created_at, priority)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[],
  $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::smallint[], $16::boolean[], $17::text[],
  $18::uuid[], $19::bigint[], $20::bigint[], $21::integer[])
