INSERT INTO templates (namespace, name, version, environment, digest, path, source, registered_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
