INSERT INTO attempts (step, seq, worker, started_at, ended_at, execution_us, retry_at, fence, attempt, outcome, error, metadata, result)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::integer[],
  $9::integer[], $10::smallint[], $11::text[], $12::text[], $13::text[])
