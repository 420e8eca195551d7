"""crate-oci: `main` reads what stands before the verb, and each verb is a module of its own name."""
