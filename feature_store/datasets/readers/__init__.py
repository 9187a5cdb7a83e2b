"""What reads a stored training dataset into other libraries; each module imports its library when it is used."""
