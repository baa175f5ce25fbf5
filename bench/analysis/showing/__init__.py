"""Reports as terminal tables, HTML, Markdown, JUnit and pictures."""
