"""What people read: HTML, Markdown and tables for a terminal."""
