INSERT INTO steps (id, enqueued_at, started_at, wake_at, worker, ended_at, remaining, fence, attempts, crashes, template, state, has_checkpoint, result, name, suspect)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[],
  $9::integer[], $10::integer[], $11::smallint[], $12::smallint[], $13::boolean[],
  $14::text[], $15::text[], $16::boolean[])
