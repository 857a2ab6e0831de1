DELETE FROM checkpoints WHERE step = ANY ($1)
