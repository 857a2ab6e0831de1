SELECT id FROM steps WHERE id = ANY ($1)
