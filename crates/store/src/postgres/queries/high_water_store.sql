INSERT INTO meta (key, value) VALUES ('high_water', $1)
ON CONFLICT (key) DO UPDATE SET value = greatest(meta.value, excluded.value)
