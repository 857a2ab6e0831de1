INSERT INTO meta (key, value) VALUES ('duty ' || $1::text, $2)
ON CONFLICT (key) DO UPDATE SET value = greatest(meta.value, excluded.value)
