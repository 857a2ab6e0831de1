INSERT INTO meta (key, value) VALUES ('high_water', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value
