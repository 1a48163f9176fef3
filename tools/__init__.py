"""Programs around the models: set-up, doctor, demo data, benchmark, submission."""
