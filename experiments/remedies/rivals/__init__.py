"""The first cure of ill networks against the best remedy known, each trained."""
