"""The page: reports, issues and traces in the browser, served from the data directory by a process of its own."""
