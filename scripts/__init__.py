"""Programs around the engine: demo, bench, synthetic customers, reference consumer."""
