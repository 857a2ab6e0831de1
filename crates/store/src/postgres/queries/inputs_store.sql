INSERT INTO inputs (step, inputs) SELECT * FROM unnest($1::bigint[], $2::text[])
ON CONFLICT (step) DO UPDATE SET inputs = excluded.inputs
