"""What handful is measured by, on whatever machine this runs: `make bench`, or python -m benchmarks [NAME ...]."""
