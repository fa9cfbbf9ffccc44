"""What a flow means: the rate, the findings, and advice."""
