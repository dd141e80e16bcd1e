"""Everything an HTTP answer needs around the model: bodies, errors, keys, limits, metrics, the description."""
