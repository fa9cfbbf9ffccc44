"""Programs of the casebook: functions by framework and kind of fault, and the parts they share."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
