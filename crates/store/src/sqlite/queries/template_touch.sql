-- The row registered last is the one new tasks use.
UPDATE templates SET registered_at = ?2, path = ?3 WHERE id = ?1
