"""How a network is computed on the machine at hand."""
