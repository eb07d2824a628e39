"""What the leaderboard is made of: recipes, worlds, runs and their rows, scripts as forks, the table and its goals."""
