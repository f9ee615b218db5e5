"""Tables, pictures and pages that commands show."""
