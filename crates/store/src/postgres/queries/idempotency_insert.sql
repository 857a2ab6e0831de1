INSERT INTO idempotency (key, digest, task) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
