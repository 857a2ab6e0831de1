-- The row registered last is the one new tasks use.
INSERT INTO templates (namespace, name, version, environment, digest, path, source, registered_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (digest) DO UPDATE SET registered_at = excluded.registered_at, path = excluded.path RETURNING id
