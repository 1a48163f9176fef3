"""Programs that a user types: checks, demo data, the dataset filter, weight conversion."""
