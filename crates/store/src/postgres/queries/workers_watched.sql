-- Who must be watched: the living, and who holds steps though it is gone. A program of the release before has no beat; that
-- it was seen counts.
SELECT id, name, CASE WHEN beat = 0 THEN seen_at ELSE beat END, lease_ms, gone FROM workers WHERE NOT gone
UNION ALL SELECT id, name, CASE WHEN beat = 0 THEN seen_at ELSE beat END, lease_ms, gone FROM workers WHERE gone AND id IN (SELECT worker FROM held)
