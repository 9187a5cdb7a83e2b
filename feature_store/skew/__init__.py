"""Whether what is served is what models are trained on: reads that are joined again, and distributions side by side."""
