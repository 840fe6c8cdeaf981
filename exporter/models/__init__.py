"""Mobile-friendly blocks that the variant families share; a file names what it holds."""
