-- The action itself may have settled it under its own name.
UPDATE dead_letters SET resolved_at = $2, resolution = $3 WHERE id = $1
