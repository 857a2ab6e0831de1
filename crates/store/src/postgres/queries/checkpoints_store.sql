INSERT INTO checkpoints (step, checkpoint) SELECT * FROM unnest($1::bigint[], $2::text[])
ON CONFLICT (step) DO UPDATE SET checkpoint = excluded.checkpoint
