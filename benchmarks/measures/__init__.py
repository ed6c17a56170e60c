"""What several benchmarks share: baselines, costs, errors against the truth, and how results are printed and shown."""
