"""Images in registries: OCI distribution-spec v1.1, without a daemon."""
