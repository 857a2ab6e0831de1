SELECT task, details FROM requests WHERE task = ANY ($1)
