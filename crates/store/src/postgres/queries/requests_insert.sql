INSERT INTO requests (task, context, details) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])
