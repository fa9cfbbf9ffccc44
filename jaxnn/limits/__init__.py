"""Random networks in the limit of infinite width, and near it."""
