"""Networks trained here next to those of scikit-learn."""
