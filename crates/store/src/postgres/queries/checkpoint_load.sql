SELECT checkpoint FROM checkpoints WHERE step = $1
