"""The accelerator search as a user meets it: samplers, workers, clusters, stores, results."""
