"""Random faults on whole deployments, and the audit of what came of it."""
