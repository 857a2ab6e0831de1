INSERT INTO ready (queue, rank, enqueued_at, step) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
