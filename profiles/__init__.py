"""`sam-bench`: measure bundles, keep the results, compare, hold to budgets, show."""
