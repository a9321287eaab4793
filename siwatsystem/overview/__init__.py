"""What the dashboard is told: computed once for all who look, and only while somebody does."""
