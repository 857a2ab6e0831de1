SELECT s.template, a.error FROM steps s JOIN attempts a ON a.step = s.id
WHERE s.id BETWEEN $1 AND $2 AND s.state = $3 AND a.error IS NOT NULL AND a.outcome <> $4 ORDER BY a.ended_at DESC LIMIT 1
