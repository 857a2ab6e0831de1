SELECT inputs FROM inputs WHERE step = $1
