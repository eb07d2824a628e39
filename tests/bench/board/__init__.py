"""What the leaderboard is made of: recipes, runs and their rows, scripts as forks, the table and its goals."""
