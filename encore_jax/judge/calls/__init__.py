"""Several rules in one call of a judge: which, how they are asked, and how the reply is read."""
