"""What happens when: submissions, the queue, leases, a study's life. Knows tables and plans, and no HTTP."""
