DELETE FROM checkpoints WHERE step = ?1
