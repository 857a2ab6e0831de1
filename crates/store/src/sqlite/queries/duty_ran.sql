INSERT INTO meta (key, value) VALUES ('duty ' || ?1, ?2)
ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)
