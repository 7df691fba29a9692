"""Studies that take hours, and the pages made of what they recorded: commands, not a library."""
