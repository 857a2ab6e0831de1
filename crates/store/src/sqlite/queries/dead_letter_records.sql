-- CROSS JOIN keeps the order of the loops: with statistics SQLite would start from `tasks` and read all of them.
SELECT t.uuid, d.reason, d.opened_at, d.resolved_at FROM dead_letters d CROSS JOIN tasks t ON t.id = d.task ORDER BY d.id DESC LIMIT ?1
