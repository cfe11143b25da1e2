"""The console command `encore`: one module per subcommand, and what they share."""
