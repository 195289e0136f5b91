"""Studies: several trainings of one experiment or many, put side by side."""
