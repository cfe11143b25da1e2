"""HTTP to model servers: the one client, which servers answer, when a request is made again, and what a reply says."""
