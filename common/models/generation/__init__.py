"""Making text: settings of a call, and how new tokens are found."""
