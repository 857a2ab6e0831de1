SELECT t.uuid, t.template, t.priority, t.created_at, r.context, r.details, t.id
FROM tasks t JOIN requests r ON r.task = t.id WHERE t.id = ANY ($1)
