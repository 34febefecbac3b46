"""What of the paper holds? Its tables beside ours, a verdict on each claim, and the page (Tables I to III)."""
