SELECT result FROM steps WHERE id = ?1
