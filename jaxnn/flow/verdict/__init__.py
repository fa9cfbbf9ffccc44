"""The verdict on a flow: its rate, findings and advice."""
