-- With max(), SQLite takes the other columns from the row that has it: the latest, without a sort.
SELECT s.template, a.error, max(a.ended_at) FROM steps s JOIN attempts a ON a.step = s.id
WHERE s.id BETWEEN ?1 AND ?2 AND s.state = ?3 AND a.error IS NOT NULL AND a.outcome <> ?4
