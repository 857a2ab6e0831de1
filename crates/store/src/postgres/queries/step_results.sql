SELECT id, result FROM steps WHERE id = ANY ($1)
