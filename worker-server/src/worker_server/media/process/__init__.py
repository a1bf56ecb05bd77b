"""Child processes: started under limits, watched, ended."""
