"""Users, projects, tokens and sessions: who asks, what they may do, and a record of what they did."""
