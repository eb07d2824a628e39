"""What the leaderboard is made of: its scripts as forks, its table and goals."""
