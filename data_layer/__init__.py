"""What is kept? Every thread of every user, in SQLite or PostgreSQL; the only home of SQL."""
