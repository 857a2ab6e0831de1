SELECT uuid, id FROM tasks WHERE uuid = ANY ($1)
