"""Number formats: what each keeps of the entries of a flow."""
