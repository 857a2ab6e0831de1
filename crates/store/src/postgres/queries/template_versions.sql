SELECT id, namespace, name, version, path FROM templates
WHERE namespace = $1 AND name = $2 AND ($3::text IS NULL OR version = $3) ORDER BY registered_at DESC, id DESC
