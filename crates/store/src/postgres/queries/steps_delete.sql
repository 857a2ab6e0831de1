DELETE FROM steps WHERE id = ANY ($1)
